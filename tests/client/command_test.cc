// SPDX-License-Identifier: Apache-2.0
// What commands print, their usage errors and exit codes.
#include "client/render/text_width.h"
#include "gmock/gmock.h"
#include "nlohmann/json.hpp"
#include "tests/client/command_fixture.h"

namespace mtm::client {
namespace {

using ::nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr const char* kCommands[] = {"remember", "append", "forget", "rollback", "copy",       "label",
                                     "memories", "show",   "delete", "load",     "unload",     "verify",
                                     "reindex",  "export", "import", "watch",    "wait",       "generate",
                                     "compare",  "trace",  "score",  "tokenize", "detokenize", "model",
                                     "top"};

TEST_F(CommandTest, HelpFitsAScreenAndNamesEveryCommand) {
  EXPECT_EQ(Run({"--help"}), 0);
  std::istringstream lines(out());
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) EXPECT_LE(DisplayWidth(line), 80) << line;
  EXPECT_LE(count, 24);
  for (const char* command : kCommands) {
    EXPECT_THAT(out(), HasSubstr(command));
  }
}

TEST_F(CommandTest, EveryCommandHasExamples) {
  for (const char* command : kCommands) {
    EXPECT_EQ(Run({command, "--help"}), 0);
    EXPECT_THAT(out(), HasSubstr(std::string("Examples:\n  mtm ") + command));
  }
}

TEST_F(CommandTest, Version) {
  EXPECT_EQ(Run({"--version"}), 0);
  EXPECT_THAT(out(), StartsWith("mtm "));
}

TEST_F(CommandTest, UsageErrorsAreOneLineAndExitTwo) {
  const std::vector<std::vector<std::string>> wrong = {
      {},
      {"nope"},
      {"generate"},
      {"generate", "--mode", "fast", "x"},
      {"generate", "--top-k", "many", "x"},
      {"generate", "--seed", "-1", "x"},
      {"generate", "x", "y"},
      {"generate", "--layers", "7", "x"},
      {"generate", "--memory", "cats:k", "x"},
      {"generate", "--tokens", "one two"},
      {"compare", "x"},
      {"trace", "x"},
      {"remember", "cats", "/no/such/file"},
      {"--timeout", "0", "model"},
  };
  for (const auto& arguments : wrong) {
    EXPECT_EQ(Run(arguments), 2) << testing::PrintToString(arguments);
    EXPECT_EQ(out(), "");
    EXPECT_THAT(err(), StartsWith("mtm: INVALID_ARGUMENT: "));
    EXPECT_EQ(err().find('\n'), err().size() - 1) << err();
  }
  EXPECT_EQ(state().call_count(), 0);
}

TEST_F(CommandTest, UsageErrorsAreJsonUnderJson) {
  EXPECT_EQ(Run({"generate", "--json"}), 2);
  EXPECT_EQ(json::parse(err())["error"]["code"], "INVALID_ARGUMENT");
}

TEST_F(CommandTest, ArgumentsMayEqualCommandsAndBeginWithDashes) {
  EXPECT_EQ(Run({"tokenize", "model"}), 0);
  EXPECT_EQ(out(), "109 111 100 101 108\n");
  EXPECT_EQ(Run({"generate", "--", "--help"}), 0);
  EXPECT_EQ(state().last<v1::GenerateRequest>().prompt(), "--help");
  EXPECT_EQ(Run({"generate", "[a,b]"}), 0);
  EXPECT_EQ(state().last<v1::GenerateRequest>().prompt(), "[a,b]");
}

TEST_F(CommandTest, ErrorsOfTheServerChooseTheExitCode) {
  ASSERT_EQ(Run({"remember", "cats", "-"}, "purr"), 0);
  EXPECT_EQ(Run({"remember", "cats", "-"}, "purr"), 4);
  EXPECT_EQ(Run({"show", "dogs"}), 3);
  EXPECT_EQ(Run({"remember", "empty", "-"}), 2);
  EXPECT_EQ(Run({"generate", "--memory", "cats:k=0", "x"}), 2);
  EXPECT_EQ(err(), "mtm: INVALID_ARGUMENT: invalid request\n  memory_uses[0].k: must be at least 1\n");
  EXPECT_EQ(Run({"generate", "--memory", "cats:k=0", "x", "--json"}), 2);
  EXPECT_EQ(json::parse(err())["error"]["fields"][0]["field"], "memory_uses[0].k");
  state().FailNext({grpc::StatusCode::FAILED_PRECONDITION, "another model"});
  EXPECT_EQ(Run({"generate", "x"}), 5);
  state().FailNext({grpc::StatusCode::RESOURCE_EXHAUSTED, "disk full"});
  EXPECT_EQ(Run({"remember", "more", "-"}, "x"), 7);
  state().FailNext({grpc::StatusCode::DATA_LOSS, "damaged"});
  EXPECT_EQ(Run({"show", "cats"}), 8);
}

TEST_F(CommandTest, NoServerIsSix) {
  EXPECT_EQ(Run({"--server", "127.0.0.1:1", "generate", "x"}), 2);  // --server twice
  std::ostringstream out;
  std::ostringstream err;
  EXPECT_EQ(RunMtm({"--server", "127.0.0.1:1", "generate", "x"}, {out, err, 0, {}, {}}), 6);
  EXPECT_THAT(err.str(), StartsWith("mtm: UNAVAILABLE: 127.0.0.1:1: "));
}

TEST_F(CommandTest, TokenizesAndBack) {
  EXPECT_EQ(Run({"tokenize", "-"}, "hi\n"), 0);
  EXPECT_EQ(out(), "104 105 10\n");
  EXPECT_EQ(Run({"detokenize", "104,105", "33"}), 0);
  EXPECT_EQ(out(), "hi!\n");
  EXPECT_EQ(Run({"detokenize", "-", "--json"}, "104 105\n"), 0);
  EXPECT_EQ(json::parse(out())["text"], "hi");
}

TEST_F(CommandTest, ShowsTheModel) {
  EXPECT_EQ(Run({"model"}), 0);
  EXPECT_THAT(out(), HasSubstr("parameters     1,234,567\n"));
  EXPECT_EQ(Run({"model", "--json"}), 0);
  EXPECT_EQ(json::parse(out())["parameter_count"],
            "1234567");  // protobuf's JSON has 64-bit integers in quotes
}

TEST_F(CommandTest, ColoursOnlyOnATerminalThatWantsThem) {
  terminal_.colour = true;
  EXPECT_EQ(Run({"model"}), 0);
  EXPECT_THAT(out(), Not(HasSubstr("\x1b[")));
  terminal_.out = true;
  EXPECT_EQ(Run({"model"}), 0);
  EXPECT_THAT(out(), HasSubstr("\x1b[2mname"));
}

TEST_F(CommandTest, OutputThatCannotBeWrittenIsAnError) {
  out_.setstate(std::ios::badbit);
  std::ostringstream err;
  EXPECT_EQ(RunMtm({"--server", server_.address(), "generate", "x"}, {out_, err, 0, {}, {}}), 1);
  EXPECT_EQ(err.str(), "mtm: UNKNOWN: cannot write to standard output\n");
}

}  // namespace
}  // namespace mtm::client
