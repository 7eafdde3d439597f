// SPDX-License-Identifier: Apache-2.0
// generate, compare, trace and score.
#include <thread>

#include "gmock/gmock.h"
#include "nlohmann/json.hpp"
#include "tests/client/command_fixture.h"

namespace mtm::client {
namespace {

using ::nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class GenerateCommandTest : public CommandTest {};

TEST_F(GenerateCommandTest, GeneratePrintsOnlyTheText) {
  EXPECT_EQ(Run({"generate", "Cats are"}), 0);
  EXPECT_EQ(out(), " bark bark bark\n");
  EXPECT_EQ(err(), "");
}

TEST_F(GenerateCommandTest, GenerateSendsEveryOption) {
  ASSERT_EQ(Run({"remember", "cats", "-"}, "purr"), 0);
  EXPECT_EQ(Run({"generate",
                 "--memory",
                 "cats:k=3",
                 "--layers",
                 "1-2",
                 "--method",
                 "2",
                 "-k",
                 "9",
                 "--mf",
                 "4",
                 "--bf",
                 "0.5",
                 "--ts",
                 "2",
                 "--resid",
                 "0.25",
                 "--heads",
                 "0.5",
                 "--mode",
                 "exact",
                 "-n",
                 "2",
                 "--samples",
                 "2",
                 "--temperature",
                 "0",
                 "--top-k",
                 "0",
                 "--top-p",
                 "0.9",
                 "--seed",
                 "18446744073709551615",
                 "--stop",
                 "a",
                 "--stop",
                 "b,c",
                 "--ignore-end",
                 "--logprobs",
                 "0",
                 "--time-limit",
                 "2.5",
                 "--no-newline",
                 "-"},
                "Cats\n\n"),
            0)
      << err();
  const v1::GenerateRequest request = state().last<v1::GenerateRequest>();
  EXPECT_EQ(request.prompt(), "Cats\n");  // one final line feed less
  EXPECT_TRUE(request.has_leading_newline() && !request.leading_newline());
  const v1::MemoryUse& use = request.memory_uses(0);
  EXPECT_EQ(use.k(), 3);
  EXPECT_THAT(use.layers(), ElementsAre(1, 2));
  EXPECT_EQ(use.method(), v1::METHOD_TYPE_2);
  EXPECT_EQ(use.memory_fraction(), 4);
  EXPECT_EQ(use.bookkeeping_fraction(), 0.5);
  EXPECT_EQ(use.score_scale(), 2);
  EXPECT_EQ(use.residual_fraction(), 0.25);
  EXPECT_EQ(use.head_fraction(), 0.5);
  const v1::GenerationParameters& parameters = request.parameters();
  EXPECT_EQ(parameters.mode(), v1::MODE_EXACT);
  EXPECT_EQ(parameters.max_tokens(), 2);
  EXPECT_EQ(parameters.sample_count(), 2);
  EXPECT_EQ(parameters.sampling().temperature(), 0);
  EXPECT_TRUE(parameters.sampling().has_top_k());
  EXPECT_EQ(parameters.sampling().top_p(), 0.9);
  EXPECT_EQ(parameters.sampling().seed(), ~uint64_t{0});
  EXPECT_THAT(parameters.stop(), ElementsAre("a", "b,c"));
  EXPECT_TRUE(parameters.ignore_end_of_text());
  EXPECT_TRUE(parameters.has_top_logprobs());
  EXPECT_EQ(parameters.time_limit().seconds(), 2);
  EXPECT_EQ(parameters.time_limit().nanos(), 500'000'000);
  EXPECT_THAT(out(), StartsWith("== sample 1 of 2 ==\n purr purr\n== sample 2 of 2 ==\n purr purr\n"));
  EXPECT_THAT(out(), HasSubstr("logprob"));
}

TEST_F(GenerateCommandTest, GenerateTakesTokenIds) {
  EXPECT_EQ(Run({"generate", "--tokens", "464, 3797"}), 0);
  EXPECT_THAT(state().last<v1::GenerateRequest>().prompt_tokens().ids(), ElementsAre(464, 3797));
}

TEST_F(GenerateCommandTest, GenerateJsonIsOneEventALine) {
  EXPECT_EQ(Run({"generate", "--json", "x"}), 0);
  std::istringstream lines(out());
  std::vector<std::string> kinds;
  for (std::string line; std::getline(lines, line);) kinds.push_back(json::parse(line).begin().key());
  EXPECT_THAT(kinds, ElementsAre("started", "token", "token", "token", "sample_finished", "finished"));
  EXPECT_EQ(err(), "");
}

TEST_F(GenerateCommandTest, SummaryOnATerminalOrWhenVerbose) {
  ASSERT_EQ(Run({"remember", "cats", "-"}, "purr"), 0);
  EXPECT_EQ(Run({"generate", "-v", "--memory", "cats", "x"}), 0);
  EXPECT_EQ(err(),
            "cats@aaaaaaaaaaaa in layer 3: Type 3, k 5, MF 5, BF 0.9, TS 0.01, R 0.33\n"
            "[token limit reached: 3 tokens, 312 of 7,200 tokens-heads changed (4.3 %), 2.50 s (1.2 "
            "tokens/s), seed 42]\n");
  terminal_.err = true;
  EXPECT_EQ(Run({"generate", "x"}), 0);
  EXPECT_THAT(err(), HasSubstr("3 tokens, 2.50 s"));
}

TEST_F(GenerateCommandTest, InterruptionIs130) {
  state().HangAfterFirstToken();
  std::jthread interrupter([this] {
    while (state().call_count() == 0) std::this_thread::yield();
    stop_.request_stop();
  });
  EXPECT_EQ(Run({"generate", "x"}), 130);
  EXPECT_EQ(err(), "");
  EXPECT_TRUE(state().WaitUntilClientLeft());
}

TEST_F(GenerateCommandTest, TimeoutIsSix) {
  state().HangAfterFirstToken();
  EXPECT_EQ(Run({"--timeout", "0.2", "generate", "x"}), 6);
  EXPECT_THAT(err(), StartsWith("mtm: DEADLINE_EXCEEDED: "));
}

TEST_F(GenerateCommandTest, CompareUsesOneSeedAndSaysWhatTheMemoryDid) {
  ASSERT_EQ(Run({"remember", "cats", "-"}, "purr"), 0);
  EXPECT_EQ(Run({"compare", "--memory", "cats", "Cats are"}), 0);
  EXPECT_EQ(
      out(),
      "prompt: Cats are\n\n── without memory ──\n bark bark bark\n\n── with cats ──\n purr purr purr\n\n"
      "cats@aaaaaaaaaaaa in layer 3: Type 3, k 5, MF 5, BF 0.9, TS 0.01, R 0.33\n"
      "312 of 7,200 tokens-heads changed (4.3 %); seed 42; 2.50 s without, 2.50 s with\n");
  EXPECT_EQ(state().last<v1::GenerateRequest>().parameters().sampling().seed(), 42u);
  EXPECT_EQ(state().last<v1::GenerateRequest>().memory_uses_size(), 0);

  terminal_.out = true;
  EXPECT_EQ(Run({"compare", "--memory", "cats", "Cats are"}), 0);
  EXPECT_THAT(out(), HasSubstr("without memory                         │ with cats"));
  EXPECT_EQ(Run({"compare", "--memory", "cats", "--json", "Cats are"}), 0);
  EXPECT_EQ(json::parse(out())["with"]["samples"][0]["text"], " purr purr purr");
  EXPECT_EQ(json::parse(out())["without"]["samples"][0]["text"], " bark bark bark");
}

TEST_F(GenerateCommandTest, TraceShowsLookupsByStep) {
  ASSERT_EQ(Run({"remember", "cats", "-"}, "purr"), 0);
  EXPECT_EQ(Run({"trace", "--memory", "cats", "--max-entries", "9", "x"}), 0);
  EXPECT_EQ(state().last<v1::GenerateRequest>().parameters().max_tokens(), 1);
  EXPECT_EQ(state().last<v1::GenerateRequest>().parameters().trace().max_entries(), 9);
  EXPECT_THAT(out(), HasSubstr("step 0, generated \" purr\", 1 lookup\n"));
  EXPECT_THAT(out(), HasSubstr("    3     1    0  \"⏎\"    0.9500  0.250  \" cat\"@17 0.750/147\n"));
  EXPECT_THAT(out(), HasSubstr("2 more not shown"));
  EXPECT_EQ(Run({"trace", "--memory", "cats", "--json", "x"}), 0);
  EXPECT_EQ(json::parse(out())["samples"][0]["trace"][0]["layer"], 3);
  EXPECT_EQ(json::parse(out())["samples"][0]["trace"][0]["step"], 0);
}

TEST_F(GenerateCommandTest, ScorePrintsATableAndTheTotal) {
  EXPECT_EQ(Run({"score", "a", "bc", "--logprobs", "1"}), 0);
  EXPECT_THAT(out(), HasSubstr("\"b\"     7  -0.5000       60.7 %  \"b\" -0.500\n"));
  EXPECT_THAT(out(), HasSubstr("total -1.0000, -0.5000 a token, perplexity 1.649\n"));
  EXPECT_EQ(Run({"score", "--tokens", "1 2", "3"}), 0);
  EXPECT_THAT(state().last<v1::ScoreRequest>().continuation_tokens().ids(), ElementsAre(3));
}

}  // namespace
}  // namespace mtm::client
