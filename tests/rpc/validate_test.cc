// SPDX-License-Identifier: Apache-2.0
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/rpc/validate_generate.h"
#include "tests/rpc/bad_request.h"
#include "tests/rpc/test_models.h"

namespace mtm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

// Memories `all` (every layer) and `some` (layers 2 and 3) of a model of 4 layers and a context of 64.
class ValidateTest : public testing::Test {
 protected:
  ValidateTest() {
    AddMemory(model_, *store_, "all", {1, 2, 3, 4});
    AddMemory(model_, *store_, "some", {2, 3});
  }

  absl::StatusOr<CheckedGeneration> Check(const std::string& text) const {
    return CheckGenerate(FromText<v1::GenerateRequest>(text), info_, *store_);
  }
  absl::StatusOr<CheckedScore> CheckScoreText(const std::string& text) const {
    return CheckScore(FromText<v1::ScoreRequest>(text), info_, *store_);
  }

  const Model& model_ = SmallModel();
  const Tokenizer& tokenizer_ = Gpt2Tokenizer();
  const std::unique_ptr<MemoryStore> store_ = OpenStore(FreshFolder());
  ModelInfo info_ = ModelInfo::Of(model_.config(), model_.fingerprint(), &tokenizer_);
};

TEST_F(ValidateTest, UnsetFieldsTakeTheDefaults) {
  const auto checked = Check("prompt: 'Hi' memory_uses { memory: 'all' }");
  ASSERT_TRUE(checked.ok()) << checked.status();
  const GenerationRequest& request = checked->request;
  EXPECT_THAT(request.context.prompt, ElementsAre(198, 17250));
  EXPECT_EQ(request.context.mode, Mode::kCached);
  EXPECT_EQ(request.max_tokens, 50);
  EXPECT_EQ(request.samples, 1);
  EXPECT_EQ(request.sampling.temperature, 0.8);
  EXPECT_EQ(request.sampling.top_k, 200);
  EXPECT_EQ(request.sampling.top_p, 1);
  EXPECT_FALSE(request.ignore_end_of_text);
  EXPECT_FALSE(request.top_logprobs);
  EXPECT_FALSE(request.trace);
  EXPECT_EQ(checked->max_trace_entries, 1000);
  ASSERT_THAT(request.context.uses, SizeIs(1));
  const MemoryUse& use = request.context.uses[0];
  EXPECT_EQ(use.memory->info().name, "all");
  EXPECT_THAT(use.layers, ElementsAre(3));
  EXPECT_EQ(use.parameters.method, Method::kType3);
  EXPECT_EQ(use.parameters.k, 5);
  EXPECT_EQ(use.parameters.memory_fraction, 5);
  EXPECT_EQ(use.parameters.bookkeeping_fraction, 0.9);
  EXPECT_EQ(use.parameters.score_scale, 0.01);
  EXPECT_EQ(use.parameters.residual_fraction, 0.33);
  EXPECT_EQ(use.parameters.head_fraction, 1);
}

TEST_F(ValidateTest, SetFieldsAreTaken) {
  const auto checked = Check(R"(
      prompt_tokens { ids: [5, 6] }
      memory_uses { memory: 'some' layers: [3, 2] method: METHOD_TYPE_1 k: 9 memory_fraction: 0
                    bookkeeping_fraction: 0 score_scale: 1000 residual_fraction: 0 head_fraction: 0.5 }
      parameters { mode: MODE_EXACT max_tokens: 7 sample_count: 3 stop: 'x' ignore_end_of_text: true top_logprobs: 0
                   sampling { temperature: 0 top_k: 0 top_p: 0.5 seed: 0 } trace { max_entries: 2 } })");
  ASSERT_TRUE(checked.ok()) << checked.status();
  const GenerationRequest& request = checked->request;
  EXPECT_THAT(request.context.prompt, ElementsAre(5, 6));
  EXPECT_EQ(request.context.mode, Mode::kExact);
  EXPECT_EQ(request.max_tokens, 7);
  EXPECT_EQ(request.samples, 3);
  EXPECT_EQ(request.sampling.temperature, 0);
  EXPECT_EQ(request.sampling.top_k, 0);
  EXPECT_EQ(request.sampling.top_p, 0.5);
  EXPECT_EQ(request.sampling.seed, 0u);
  EXPECT_THAT(request.stop, ElementsAre("x"));
  EXPECT_TRUE(request.ignore_end_of_text);
  EXPECT_EQ(request.top_logprobs, 0);
  EXPECT_TRUE(request.trace);
  EXPECT_EQ(checked->max_trace_entries, 2);
  const MemoryUse& use = request.context.uses[0];
  EXPECT_THAT(use.layers, ElementsAre(2, 3));
  EXPECT_EQ(use.parameters.method, Method::kType1);
  EXPECT_EQ(use.parameters.k, 9);
  EXPECT_EQ(use.parameters.memory_fraction, 0);
  EXPECT_EQ(use.parameters.bookkeeping_fraction, 0);
  EXPECT_EQ(use.parameters.score_scale, 1000);
  EXPECT_EQ(use.parameters.residual_fraction, 0);
  EXPECT_EQ(use.parameters.head_fraction, 0.5);
}

TEST_F(ValidateTest, TheNewlineIsATokenOfItsOwn) {
  EXPECT_THAT(Check("prompt: '\\n'")->request.context.prompt, ElementsAre(198, 198)) << "not 628";
  EXPECT_THAT(Check("prompt: 'Hi' leading_newline: false")->request.context.prompt, ElementsAre(17250));
  EXPECT_THAT(Check("prompt_tokens { ids: 7 } leading_newline: true")->request.context.prompt,
              ElementsAre(7));
}

TEST_F(ValidateTest, AnUnsetSeedIsDrawn) {
  EXPECT_NE(Check("prompt: 'Hi'")->request.sampling.seed, Check("prompt: 'Hi'")->request.sampling.seed);
}

TEST_F(ValidateTest, TheWholeContextMayBePrompt) {
  const auto request_of = [](int n) {
    v1::GenerateRequest request;
    for (int i = 0; i < n; ++i) request.mutable_prompt_tokens()->add_ids(i);
    return request;
  };
  EXPECT_TRUE(CheckGenerate(request_of(64), info_, *store_).ok());
  EXPECT_THAT(Violations(CheckGenerate(request_of(65), info_, *store_).status()),
              ElementsAre("prompt_tokens: has 65 tokens; at most 64 fit the context"));
}

TEST_F(ValidateTest, ALongTextSaysWhatFits) {
  v1::GenerateRequest request;
  for (int i = 0; i < 64; ++i) request.mutable_prompt()->append(" a");
  EXPECT_THAT(Violations(CheckGenerate(request, info_, *store_).status()),
              ElementsAre("prompt: has 65 tokens, the leading newline included; at most 64 fit the context"));
  request.mutable_prompt()->append(1 << 20, 'a');
  EXPECT_THAT(Violations(CheckGenerate(request, info_, *store_).status()),
              ElementsAre("prompt: has more than 64 tokens, the leading newline included; at most 64 fit "
                          "the context"));
}

TEST_F(ValidateTest, AllFaultsAreNamedAtOnce) {
  const auto checked = Check(R"(
      memory_uses { memory: 'all' k: 0 } memory_uses { memory: 'some' layers: [2, 5] score_scale: -1 }
      parameters { max_tokens: 0 sampling { top_p: nan } })");
  EXPECT_THAT(
      Violations(checked.status()),
      ElementsAre("prompt: is missing; set it or prompt_tokens", "memory_uses[0].k: is 0; must be at least 1",
                  "memory_uses[1].layers[1]: is 5; this model has layers 1 to 4",
                  "memory_uses[1].score_scale: is -1; must be above 0",
                  "parameters.max_tokens: is 0; must be 1 to 100000",
                  "parameters.sampling.top_p: is nan; must be above 0 and at most 1"));
}

TEST_F(ValidateTest, ManyBadTokenIdsAreNotAllNamed) {
  v1::GenerateRequest request;
  for (int i = 0; i < 60; ++i) request.mutable_prompt_tokens()->add_ids(-i - 1);
  EXPECT_THAT(Violations(CheckGenerate(request, info_, *store_).status()), SizeIs(8));
}

TEST_F(ValidateTest, MemoriesThatCannotBeUsed) {
  const auto missing = Check("prompt: 'Hi' memory_uses { memory: 'al' }").status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()),
              testing::AllOf(HasSubstr("memory_uses[0].memory: "), HasSubstr("all")));

  const auto layer = Check("prompt: 'Hi' memory_uses { memory: 'some' layers: [1, 2] }").status();
  EXPECT_EQ(layer.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(layer.message(), "memory_uses[0].layers: some does not keep layer 1; it keeps 2, 3");

  const auto digest = Check("prompt: 'Hi' memory_uses { memory: 'all@00000000' }").status();
  EXPECT_EQ(digest.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(digest.message()), HasSubstr((*store_->Get("all"))->info().digest.substr(0, 8)));

  info_.fingerprint = std::string(64, '0');
  const auto other = Check("prompt: 'Hi' memory_uses { memory: 'all' }").status();
  EXPECT_EQ(other.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(other.message()), HasSubstr("all was made by another model"));
}

TEST_F(ValidateTest, WithoutATokenizerOnlyIdsAreTaken) {
  info_.tokenizer = nullptr;
  EXPECT_TRUE(Check("prompt_tokens { ids: 1 }").ok());
  EXPECT_THAT(Violations(Check("prompt: 'Hi' parameters { stop: 'x' }").status()),
              ElementsAre("prompt: is a text, and this model has no tokenizer; give token ids",
                          "parameters.stop: is text, and this model has no tokenizer"));
}

TEST_F(ValidateTest, AScoreTakesTheSameContext) {
  const auto checked = CheckScoreText(
      "prompt: 'Hi' continuation: ' there' memory_uses { memory: 'all' } mode: MODE_EXACT top_logprobs: 3");
  ASSERT_TRUE(checked.ok()) << checked.status();
  EXPECT_THAT(checked->request.context.prompt, ElementsAre(198, 17250));
  EXPECT_THAT(checked->request.continuation, ElementsAre(612));
  EXPECT_EQ(checked->request.context.mode, Mode::kExact);
  EXPECT_EQ(checked->request.top_logprobs, 3);
  EXPECT_THAT(checked->request.context.uses, SizeIs(1));
  EXPECT_THAT(Violations(CheckScoreText("continuation: '' mode: 9 top_logprobs: 101").status()),
              ElementsAre("mode: is 9; must be MODE_EXACT or MODE_CACHED",
                          "prompt: is missing; set it or prompt_tokens",
                          "continuation: is empty; must hold at least one character",
                          "top_logprobs: is 101; must be 0 to 100"));
}

TEST_F(ValidateTest, InCachedModeAContinuationFitsTheContext) {
  v1::ScoreRequest request;
  for (int i = 0; i < 60; ++i) request.mutable_prompt_tokens()->add_ids(i);
  for (int i = 0; i < 5; ++i) request.mutable_continuation_tokens()->add_ids(i);
  EXPECT_TRUE(CheckScore(request, info_, *store_).ok());
  request.mutable_continuation_tokens()->add_ids(5);
  EXPECT_THAT(Violations(CheckScore(request, info_, *store_).status()),
              ElementsAre("continuation_tokens: has 6 tokens; at most 5 fit the context behind the prompt"));
  request.set_mode(v1::MODE_EXACT);
  EXPECT_TRUE(CheckScore(request, info_, *store_).ok());
}

struct BadField {
  const char* request;    // besides a good prompt
  const char* violation;  // the only one
};

constexpr BadField kBadFields[] = {
    {"prompt: ''", "prompt: is empty; must hold at least one character"},
    {"prompt: '' leading_newline: false", "prompt: is empty; must hold at least one character"},
    {"prompt_tokens {}", "prompt_tokens: is empty; must hold at least one token id"},
    {"prompt_tokens { ids: [1, -1] }", "prompt_tokens.ids[1]: is -1; the vocabulary is 0 to 50256"},
    {"prompt_tokens { ids: 50257 }", "prompt_tokens.ids[0]: is 50257; the vocabulary is 0 to 50256"},
    {"memory_uses { memory: 'all' layers: 0 }",
     "memory_uses[0].layers[0]: is 0; this model has layers 1 to 4"},
    {"memory_uses { memory: 'all' layers: [1, 5] }",
     "memory_uses[0].layers[1]: is 5; this model has layers 1 to 4"},
    {"memory_uses { memory: 'all' layers: [2, 3, 2] }",
     "memory_uses[0].layers[2]: is 2, as memory_uses[0].layers[0] is; each layer is named once"},
    {"memory_uses { memory: 'all' layers: [1, 2] } memory_uses { memory: 'some' layers: 2 }",
     "memory_uses[1].layers: layer 2 is already used by memory_uses[0]; a layer takes one memory"},
    {"memory_uses { memory: 'all' } memory_uses { memory: 'some' }",
     "memory_uses[1].layers: layer 3, one of the default layers, is already used by memory_uses[0]; a layer "
     "takes one memory"},
    {"memory_uses { memory: 'all' method: 4 }",
     "memory_uses[0].method: is 4; must be METHOD_TYPE_1, _2 or _3"},
    {"memory_uses { memory: 'all' k: 0 }", "memory_uses[0].k: is 0; must be at least 1"},
    {"memory_uses { memory: 'all' k: -2147483648 }", "memory_uses[0].k: is -2147483648; must be at least 1"},
    {"memory_uses { memory: 'all' memory_fraction: -1 }",
     "memory_uses[0].memory_fraction: is -1; must be at least 0"},
    {"memory_uses { memory: 'all' memory_fraction: nan }",
     "memory_uses[0].memory_fraction: is nan; must be at least 0"},
    {"memory_uses { memory: 'all' memory_fraction: inf }",
     "memory_uses[0].memory_fraction: is inf; must be at least 0"},
    {"memory_uses { memory: 'all' bookkeeping_fraction: 1.5 }",
     "memory_uses[0].bookkeeping_fraction: is 1.5; must be 0 to 1"},
    {"memory_uses { memory: 'all' bookkeeping_fraction: -inf }",
     "memory_uses[0].bookkeeping_fraction: is -inf; must be 0 to 1"},
    {"memory_uses { memory: 'all' score_scale: 0 }", "memory_uses[0].score_scale: is 0; must be above 0"},
    {"memory_uses { memory: 'all' residual_fraction: -0.5 }",
     "memory_uses[0].residual_fraction: is -0.5; must be 0 to 1"},
    {"memory_uses { memory: 'all' head_fraction: 0 }",
     "memory_uses[0].head_fraction: is 0; must be above 0 and at most 1"},
    {"parameters { mode: 3 }", "parameters.mode: is 3; must be MODE_EXACT or MODE_CACHED"},
    {"parameters { max_tokens: 0 }", "parameters.max_tokens: is 0; must be 1 to 100000"},
    {"parameters { max_tokens: 100001 }", "parameters.max_tokens: is 100001; must be 1 to 100000"},
    {"parameters { sample_count: 0 }", "parameters.sample_count: is 0; must be 1 to 64"},
    {"parameters { sample_count: 65 }", "parameters.sample_count: is 65; must be 1 to 64"},
    {"parameters { sampling { temperature: -0.1 } }",
     "parameters.sampling.temperature: is -0.1; must be at least 0"},
    {"parameters { sampling { temperature: nan } }",
     "parameters.sampling.temperature: is nan; must be at least 0"},
    {"parameters { sampling { top_k: -1 } }", "parameters.sampling.top_k: is -1; must be at least 0"},
    {"parameters { sampling { top_p: 0 } }",
     "parameters.sampling.top_p: is 0; must be above 0 and at most 1"},
    {"parameters { stop: 'a' stop: '' }", "parameters.stop[1]: has 0 bytes; must have 1 to 1000"},
    {"parameters { stop: ['a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', "
     "'a'] }",
     "parameters.stop: has 17 strings; at most 16 are taken"},
    {"parameters { top_logprobs: -1 }", "parameters.top_logprobs: is -1; must be 0 to 100"},
    {"parameters { trace { max_entries: 0 } }", "parameters.trace.max_entries: is 0; must be 1 to 100000"},
};

TEST_F(ValidateTest, EveryBadFieldIsNamed) {
  for (const BadField& bad : kBadFields) {
    const std::string request = bad.request;
    const std::string prompt = request.find("prompt") == std::string::npos ? "prompt: 'Hi' " : "";
    const auto checked = Check(prompt + request);
    EXPECT_EQ(checked.status().code(), absl::StatusCode::kInvalidArgument) << request;
    EXPECT_THAT(Violations(checked.status()), ElementsAre(bad.violation)) << request;
  }
}

TEST_F(ValidateTest, OnlyAReplyThatIsGatheredIsBounded) {
  const auto most = Check("prompt: 'Hi' parameters { max_tokens: 100000 sample_count: 40 }");
  ASSERT_TRUE(most.ok()) << most.status();
  EXPECT_TRUE(CheckReplySize(most->request).ok());
  const auto more = Check("prompt: 'Hi' parameters { max_tokens: 100000 sample_count: 41 }");
  ASSERT_TRUE(more.ok()) << more.status();
  EXPECT_THAT(
      Violations(CheckReplySize(more->request)),
      ElementsAre("parameters: max_tokens * sample_count * (top_logprobs + 1) is 4100000; at most 4000000 "
                  "fit a reply; stream it instead"));
}

TEST_F(ValidateTest, LongStopsAndContinuationsAreRefused) {
  v1::GenerateRequest request;
  request.set_prompt("Hi");
  request.mutable_parameters()->add_stop(std::string(1001, 'a'));
  EXPECT_THAT(Violations(CheckGenerate(request, info_, *store_).status()),
              ElementsAre("parameters.stop[0]: has 1001 bytes; must have 1 to 1000"));
  v1::ScoreRequest score;
  score.set_prompt("Hi");
  score.set_mode(v1::MODE_EXACT);
  for (int i = 0; i <= 100'000; ++i) score.mutable_continuation_tokens()->add_ids(1);
  EXPECT_THAT(Violations(CheckScore(score, info_, *store_).status()),
              ElementsAre("continuation_tokens: has 100001 tokens; at most 100000 are scored at once"));
}

TEST_F(ValidateTest, TheLeadingNewlineIsKnown) {
  EXPECT_TRUE(Check("prompt: 'Hi'")->leading_newline);
  EXPECT_FALSE(Check("prompt: 'Hi' leading_newline: false")->leading_newline);
  EXPECT_FALSE(Check("prompt_tokens { ids: 7 } leading_newline: true")->leading_newline);
}

TEST_F(ValidateTest, ABadReferenceIsNamed) {
  for (const char* name : {"Cats", "a b", "/a", "a/", "a//b", "a/b/c/d/e", "../a", ".a", "", "@12345678",
                           "all@", "all@1234567", "all@1234567g"}) {
    v1::GenerateRequest request;
    request.set_prompt("Hi");
    request.add_memory_uses()->set_memory(name);
    const auto violations = Violations(CheckGenerate(request, info_, *store_).status());
    EXPECT_THAT(violations, ElementsAre(testing::StartsWith("memory_uses[0].memory: "))) << name;
  }
}

}  // namespace
}  // namespace mtm
