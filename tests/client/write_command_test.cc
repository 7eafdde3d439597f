// SPDX-License-Identifier: Apache-2.0
// remember, append, forget, rollback, copy, wait.
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "nlohmann/json.hpp"
#include "tests/client/command_fixture.h"

namespace mtm::client {
namespace {

using ::nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class WriteCommandTest : public CommandTest {
 protected:
  std::string File(const std::string& name, const std::string& text) {
    std::filesystem::create_directories(folder_);
    std::ofstream(folder_ / name) << text;
    return folder_ / name;
  }
  ~WriteCommandTest() override { std::filesystem::remove_all(folder_); }

  v1::CreateMemoryRequest::Spec spec() { return state().last<v1::CreateMemoryRequest::Spec>(); }

 private:
  // Of this process: tests run beside one another.
  const std::filesystem::path folder_ =
      std::filesystem::path(testing::TempDir()) / absl::StrCat("mtm_write_command_test.", getpid());
};

TEST_F(WriteCommandTest, RemembersWithEveryOption) {
  EXPECT_EQ(Run({"remember",
                 "cats",
                 "-",
                 "--layers",
                 "1-2",
                 "--drop",
                 "0",
                 "--no-newline",
                 "--dtype",
                 "f16",
                 "--source",
                 "diary",
                 "--label",
                 "topic=pets",
                 "--label",
                 "owner=me",
                 "--metadata",
                 "{\"year\": 2026}",
                 "--request-id",
                 "one"},
                "purr\n"),
            0)
      << err();
  EXPECT_EQ(out(), "cats: 5 tokens, layers 1-4, 2.0 KiB, digest aaaaaaaaaaaa\n");
  EXPECT_EQ(err(), "");
  EXPECT_EQ(state().TextOf("cats"), "purr\n");
  EXPECT_THAT(spec().layers(), ElementsAre(1, 2));
  EXPECT_TRUE(spec().has_dropped_token_count());
  EXPECT_TRUE(spec().has_leading_newline() && !spec().leading_newline());
  EXPECT_EQ(spec().data_type(), v1::DATA_TYPE_F16);
  EXPECT_EQ(spec().source(), "diary");
  EXPECT_EQ(spec().labels().at("owner"), "me");
  EXPECT_EQ(spec().metadata().fields().at("year").number_value(), 2026);
  EXPECT_EQ(spec().options().request_id(), "one");
  EXPECT_FALSE(spec().options().detached());
}

TEST_F(WriteCommandTest, RemembersTokenIds) {
  EXPECT_EQ(Run({"remember", "ids", "-", "--tokens"}, "[1, 2,\n3]"), 0);
  EXPECT_EQ(state().TextOf("ids"), "1 2 3");
  EXPECT_EQ(Run({"remember", "bad", "-", "--tokens"}, "1 two"), 2);
  EXPECT_EQ(state().TextOf("bad"), "");
}

TEST_F(WriteCommandTest, FurtherFilesAreAppendedUnderTheirNames) {
  EXPECT_EQ(Run({"remember", "cats", File("a.txt", "one"), File("b.txt", "two"), File("c.txt", "three"),
                 "--request-id", "id"}),
            0)
      << err();
  EXPECT_EQ(out(), "cats: 11 tokens, layers 1-4, 2.0 KiB, digest cccccccccccc\n");
  EXPECT_EQ(state().TextOf("cats"), "onetwothree");
  EXPECT_EQ(spec().source(), "a.txt");
  EXPECT_EQ(spec().options().request_id(), "id");
  EXPECT_EQ(state().last<v1::AppendToMemoryRequest::Spec>().source(), "c.txt");
  EXPECT_EQ(state().last<v1::AppendToMemoryRequest::Spec>().options().request_id(), "id.3");
}

TEST_F(WriteCommandTest, AMissingFileIsFoundBeforeAnythingIsSent) {
  EXPECT_EQ(Run({"remember", "cats", File("a.txt", "one"), "/no/such/file"}), 2);
  EXPECT_EQ(state().call_count(), 0);
}

TEST_F(WriteCommandTest, SaysHowManyTextsAreInWhenOneFails) {
  EXPECT_EQ(Run({"remember", "cats", File("a.txt", "one"), File("empty.txt", ""), File("c.txt", "three")}),
            2);
  EXPECT_THAT(err(), HasSubstr("the first 1 of 3 texts are in cats\n"));
  EXPECT_EQ(state().TextOf("cats"), "one");
}

TEST_F(WriteCommandTest, Replaces) {
  EXPECT_EQ(Run({"remember", "cats", "-", "--replace"}, "purr"), 3);
  ASSERT_EQ(Run({"remember", "cats", "-"}, "purr"), 0);
  EXPECT_EQ(Run({"remember", "cats", "-"}, "meow"), 4);
  EXPECT_EQ(Run({"remember", "cats", "-", "--replace"}, "meow"), 0);
  EXPECT_EQ(state().TextOf("cats"), "meow");
}

TEST_F(WriteCommandTest, AppendsToExactlyTheVersionThatIsMeant) {
  ASSERT_EQ(Run({"remember", "cats", "-"}, "purr"), 0);
  EXPECT_EQ(Run({"append", "cats@aaaaaaaa", File("a.txt", "1"), File("b.txt", "2"), "--source", "both"}), 0)
      << err();
  EXPECT_EQ(state().TextOf("cats"), "purr12");
  const auto last = state().last<v1::AppendToMemoryRequest::Spec>();
  EXPECT_EQ(last.name(), "cats@" + std::string(64, 'b'));
  EXPECT_EQ(last.source(), "both");
  EXPECT_EQ(Run({"append", "dogs", "-"}, "x"), 3);
}

TEST_F(WriteCommandTest, ForgetsOneThing) {
  ASSERT_EQ(Run({"remember", "cats", File("a.txt", "one"), File("b.txt", "two")}), 0);
  EXPECT_EQ(Run({"forget", "cats", "--source", "a.txt", "--purge"}), 0) << err();
  EXPECT_EQ(state().TextOf("cats"), "two");
  EXPECT_TRUE(state().last<v1::ForgetFromMemoryRequest>().purge_older_versions());
  EXPECT_EQ(Run({"forget", "cats", "--tokens", "10:5"}), 0);
  EXPECT_EQ(state().last<v1::ForgetFromMemoryRequest>().tokens().first(), 10);
  EXPECT_EQ(state().last<v1::ForgetFromMemoryRequest>().tokens().count(), 5);
  EXPECT_EQ(Run({"forget", "cats", "--text", "-"}, "my number\n"), 0);
  EXPECT_EQ(state().last<v1::ForgetFromMemoryRequest>().text(), "my number\n");
  EXPECT_EQ(Run({"forget", "cats", "--source", ""}), 0);
  EXPECT_TRUE(state().last<v1::ForgetFromMemoryRequest>().has_source());

  const int calls = state().call_count();
  EXPECT_EQ(Run({"forget", "cats"}), 2);
  EXPECT_EQ(Run({"forget", "cats", "--source", "a", "--text", "b"}), 2);
  EXPECT_EQ(Run({"forget", "cats", "--tokens", "10"}), 2);
  EXPECT_EQ(state().call_count(), calls);
}

TEST_F(WriteCommandTest, RollsBackAndCopies) {
  ASSERT_EQ(Run({"remember", "cats", "-"}, "purr"), 0);
  ASSERT_EQ(Run({"append", "cats", "-"}, "meow"), 0);
  EXPECT_EQ(Run({"copy", "cats", "team/cats"}), 0);
  EXPECT_EQ(out(), "team/cats: 8 tokens, layers 1-4, 2.0 KiB, digest bbbbbbbbbbbb\n");
  EXPECT_EQ(Run({"rollback", "cats", "aaaaaaaa"}), 0);
  EXPECT_EQ(out(), "cats: 4 tokens, layers 1-4, 2.0 KiB, digest aaaaaaaaaaaa\n");
  EXPECT_EQ(Run({"rollback", "cats", "dddddddd"}), 3);
  EXPECT_EQ(Run({"copy", "cats", "team/cats"}), 4);
}

TEST_F(WriteCommandTest, DetachedWritesAreWaitedFor) {
  EXPECT_EQ(Run({"remember", "cats", "-", "--detach", "--request-id", "one"}, "purr"), 0);
  EXPECT_EQ(out(), "accepted; mtm wait one waits for its end\n");
  EXPECT_EQ(Run({"wait", "one"}), 0);
  EXPECT_THAT(out(), HasSubstr("cats: 4 tokens"));
  EXPECT_EQ(Run({"wait", "one", "--json"}), 0);
  EXPECT_EQ(json::parse(out())["name"], "cats");
  EXPECT_EQ(Run({"wait", "two"}), 3);
  EXPECT_EQ(Run({"append", "cats", "-", "--detach", "--request-id", "three", "--json"}, "x"), 0);
  EXPECT_EQ(json::parse(out())["accepted"]["request_id"], "three");
  EXPECT_EQ(Run({"append", "cats", "-", File("a.txt", "one"), "--detach"}, "x"), 2);
}

TEST_F(WriteCommandTest, ALostReplyIsSaidAndHarmless) {
  state().LoseNextReply();
  EXPECT_EQ(Run({"remember", "cats", "-"}, "purr"), 0);
  EXPECT_THAT(err(), HasSubstr(" is unavailable, trying again in "));
  EXPECT_EQ(state().TextOf("cats"), "purr");
}

TEST_F(WriteCommandTest, ProgressOnlyOnATerminalAndErasedAfterwards) {
  terminal_.err = true;
  EXPECT_EQ(Run({"--json", "remember", "cats", "-"}, "purr"), 0);
  EXPECT_THAT(err(), HasSubstr("cats  4 tokens"));
  EXPECT_TRUE(err().ends_with("\r\x1b[K"));
  EXPECT_EQ(json::parse(out())["name"], "cats");
}

}  // namespace
}  // namespace mtm::client
