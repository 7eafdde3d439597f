// SPDX-License-Identifier: Apache-2.0
// memories, show, label, delete, load, unload, verify, reindex, export, import, watch.
#include <filesystem>
#include <fstream>
#include <sstream>

#include "gmock/gmock.h"
#include "nlohmann/json.hpp"
#include "tests/client/command_fixture.h"

namespace mtm::client {
namespace {

using ::nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

class MemoryCommandTest : public CommandTest {
 protected:
  void SetUp() override { std::filesystem::create_directories(folder_); }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string Path(const std::string& name) { return (folder_ / name).string(); }

  static std::string Read(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }

  const std::filesystem::path folder_ =
      std::filesystem::path(testing::TempDir()) / ("memory_command_test." + std::to_string(getpid()));
};

TEST_F(MemoryCommandTest, ListsAllPages) {
  for (const char* name : {"a", "b", "cats"}) ASSERT_EQ(Run({"remember", name, "-"}, "purr\n"), 0);
  EXPECT_EQ(Run({"memories"}), 0);
  EXPECT_THAT(out(), HasSubstr("name  tokens  layers     size  state    created"));
  EXPECT_THAT(out(), HasSubstr("cats       5  1-4     2.0 KiB  on disk  "));
  EXPECT_THAT(out(), Not(HasSubstr("labels")));
  EXPECT_EQ(Run({"memories", "--json"}), 0);
  EXPECT_EQ(json::parse(out())["memories"][2]["name"], "cats");
  EXPECT_EQ(Run({"memories", "--prefix", "ca", "--label", "x=y", "--state", "resident"}), 0);
  EXPECT_THAT(out(), Not(HasSubstr("\na ")));
  const auto filter = state().last<v1::ListMemoriesRequest>().filter();
  EXPECT_EQ(filter.labels().at("x"), "y");
  EXPECT_EQ(filter.states(0), v1::Memory::STATE_RESIDENT);
  EXPECT_EQ(Run({"memories", "--state", "lost"}), 2);
  EXPECT_EQ(Run({"memories", "--prefix", "nothing/"}), 0);
  EXPECT_EQ(err(), "no such memories\n");
}

TEST_F(MemoryCommandTest, QuarantinedMemoriesAreNamedOnStandardError) {
  state().AddQuarantined("old", "checksum\x1b");
  EXPECT_EQ(Run({"memories"}), 0);
  EXPECT_THAT(err(), HasSubstr("quarantined: old: checksum\\x1B\n"));
  EXPECT_EQ(Run({"show", "old"}), 0);
  EXPECT_THAT(out(), HasSubstr("quarantined: checksum\\x1B\n"));
  EXPECT_EQ(Run({"verify", "old"}), 8);
}

TEST_F(MemoryCommandTest, ShowsSourcesAndVersions) {
  ASSERT_EQ(Run({"remember", "cats", "-", "--source", "diary"}, "purr"), 0);
  ASSERT_EQ(Run({"append", "cats", "-"}, "meow"), 0);
  EXPECT_EQ(Run({"show", "cats"}), 0);
  EXPECT_THAT(out(), HasSubstr("\nlayers         1-4\n"));
  EXPECT_THAT(out(), HasSubstr("\nindex          not known until it is loaded\n"));
  EXPECT_THAT(out(), HasSubstr("     4  diary\n"));
  EXPECT_THAT(out(), HasSubstr("     4  (none)\n"));
  EXPECT_LT(out().find("\nbbbbbbbbbbbb       8"), out().find("\naaaaaaaaaaaa       4"));
  EXPECT_THAT(out(), HasSubstr("  current\n"));
  EXPECT_EQ(Run({"show", "cats", "--json"}), 0);
  EXPECT_EQ(json::parse(out())["versions"].size(), 2u);
  EXPECT_EQ(Run({"load", "cats"}), 0);
  EXPECT_EQ(Run({"show", "cats"}), 0);
  EXPECT_THAT(out(), HasSubstr("\nindex          none: searched exactly\n"));
}

TEST_F(MemoryCommandTest, LabelsAreSetAndRemovedOneByOne) {
  ASSERT_EQ(Run({"remember", "cats", "-", "--label", "topic=pets"}, "purr"), 0);
  EXPECT_EQ(Run({"label", "cats", "owner=me", "empty="}), 0);
  EXPECT_EQ(out(), "cats: empty=, owner=me, topic=pets\n");
  EXPECT_EQ(Run({"label", "cats", "owner-", "empty-", "--metadata", "{\"a\": \"\\u001b\"}"}), 0);
  EXPECT_EQ(out(), "cats: topic=pets; {\"a\":\"\\u001b\"}\n");
  EXPECT_FALSE(state().last<v1::UpdateMemoryRequest>().labels().labels().contains("owner"));
  EXPECT_EQ(Run({"label", "cats", "topic-"}), 0);
  EXPECT_FALSE(state().last<v1::UpdateMemoryRequest>().has_metadata());
  EXPECT_EQ(out(), "cats: no labels; {\"a\":\"\\u001b\"}\n");
  EXPECT_EQ(Run({"label", "cats", "--metadata", "{}"}), 0);
  EXPECT_EQ(out(), "cats: no labels\n");
  EXPECT_EQ(Run({"label", "cats", "--metadata", "7"}), 2);
  EXPECT_EQ(Run({"label", "cats", "topic"}), 2);
  EXPECT_EQ(Run({"memories"}), 0);
}

TEST_F(MemoryCommandTest, DeleteTriesAll) {
  ASSERT_EQ(Run({"remember", "a", "-"}, "1"), 0);
  ASSERT_EQ(Run({"remember", "b", "-"}, "2"), 0);
  EXPECT_EQ(Run({"delete", "a", "missing", "b"}), 3);
  EXPECT_EQ(out(), "deleted a\ndeleted b\n");
  EXPECT_EQ(err(), "mtm: NOT_FOUND: no memory missing\n");
  EXPECT_EQ(Run({"delete", "a", "--json"}), 3);
  EXPECT_EQ(out(), "{\n  \"deleted\": []\n}\n");
}

TEST_F(MemoryCommandTest, LoadsChecksAndUnloads) {
  ASSERT_EQ(Run({"remember", "cats", "-"}, "purr"), 0);
  EXPECT_EQ(Run({"load", "cats", "missing"}), 3);
  EXPECT_EQ(out(), "cats: resident\n");
  EXPECT_EQ(Run({"unload", "cats"}), 0);
  EXPECT_EQ(out(), "cats: on disk\n");
  terminal_.err = true;
  EXPECT_EQ(Run({"verify", "cats"}), 0);
  EXPECT_EQ(out(), "cats: 2.0 KiB as written, digest aaaaaaaaaaaa\n");
  EXPECT_THAT(err(), HasSubstr("1.0 KiB/2.0 KiB  50 %"));
  EXPECT_EQ(Run({"reindex", "cats"}), 0);
  EXPECT_EQ(out(), "cats: no part is large enough for an index\n");
  EXPECT_EQ(Run({"verify", "cats", "--json"}), 0);
  EXPECT_EQ(json::parse(out())["memories"][0]["name"], "cats");
}

TEST_F(MemoryCommandTest, ExportsAndImports) {
  ASSERT_EQ(Run({"remember", "cats", "-"}, "purr"), 0);
  EXPECT_EQ(Run({"export", "cats", Path("cats.mtm")}), 0) << err();
  EXPECT_EQ(out(), Path("cats.mtm") + ": cats, 93 B, digest aaaaaaaaaaaa\n");
  EXPECT_FALSE(std::filesystem::exists(Path("cats.mtm.part")));
  EXPECT_EQ(Run({"import", "copy", Path("cats.mtm"), "--label", "from=file", "--request-id", "one"}), 0)
      << err();
  EXPECT_EQ(out(), "copy: 4 tokens, layers 1-4, 2.0 KiB, digest aaaaaaaaaaaa\n");
  EXPECT_EQ(state().TextOf("copy"), "purr");
  EXPECT_EQ(state().last<v1::ImportMemoryRequest::Spec>().labels().at("from"), "file");
  EXPECT_EQ(state().last<v1::ImportMemoryRequest::Spec>().request_id(), "one");
}

TEST_F(MemoryCommandTest, ABrokenExportGoesOnWhereItEnds) {
  ASSERT_EQ(Run({"remember", "cats", "-"}, "purr and meow"), 0);
  ASSERT_EQ(Run({"export", "cats", Path("whole")}), 0);
  const std::string whole = Read(Path("whole"));
  std::ofstream(Path("cats.part")) << whole.substr(0, whole.size() - 3);
  EXPECT_EQ(Run({"export", "cats", Path("cats"), "--json"}), 0) << err();
  EXPECT_EQ(json::parse(out())["digest"], std::string(64, 'a'));
  EXPECT_EQ(state().last<v1::ExportMemoryRequest>().offset(), static_cast<int64_t>(whole.size()) - 3);
  EXPECT_EQ(Read(Path("cats")), whole);
}

TEST_F(MemoryCommandTest, APartOfAnotherVersionIsWrittenAnew) {
  ASSERT_EQ(Run({"remember", "cats", "-"}, "purr"), 0);
  ASSERT_EQ(Run({"export", "cats", Path("whole")}), 0);
  std::ofstream(Path("cats.part")) << "{\"digest\":\"bbbb\",\"format\":2}\nhalf of something else";
  EXPECT_EQ(Run({"export", "cats", Path("cats")}), 0) << err();
  EXPECT_EQ(Read(Path("cats")), Read(Path("whole")));
}

TEST_F(MemoryCommandTest, OnlyExportsAreImported) {
  std::ofstream(Path("notes")) << "no export";
  EXPECT_EQ(Run({"import", "cats", Path("notes")}), 2);
  EXPECT_THAT(err(), HasSubstr("is no exported memory"));
  EXPECT_EQ(Run({"import", "cats", Path("missing")}), 2);
  EXPECT_EQ(Run({"export", "cats", Path("missing/cats")}), 3);
  EXPECT_EQ(state().TextOf("cats"), "");
}

// Interrupts once it has been given a text.
class InterruptingBuffer : public std::stringbuf {
 public:
  explicit InterruptingBuffer(std::string text) : text_(std::move(text)) {}
  std::stop_source stop;

 private:
  int sync() override {
    if (str().find(text_) != std::string::npos) stop.request_stop();
    return 0;
  }
  const std::string text_;
};

TEST_F(MemoryCommandTest, WatchPrintsALineAChangeUntilInterrupted) {
  ASSERT_EQ(Run({"remember", "cats", "-", "--label", "topic=pets"}, "purr"), 0);
  const auto watch = [this](const std::vector<std::string>& arguments) {
    InterruptingBuffer buffer("gone");
    std::ostream out(&buffer);
    std::ostringstream err;
    EXPECT_EQ(RunMtm(arguments, {out, err, 0, {}, buffer.stop.get_token()}), 130);
    return buffer.str();
  };
  EXPECT_EQ(watch({"--server", server_.address(), "watch"}),
            "updated cats: 4 tokens, layers 1-4, 2.0 KiB, digest aaaaaaaaaaaa, on disk, topic=pets\n"
            "deleted gone\n");
  std::istringstream lines(watch({"--server", server_.address(), "watch", "--json"}));
  std::vector<std::string> kinds;
  for (std::string line; std::getline(lines, line);) kinds.push_back(json::parse(line).begin().key());
  EXPECT_THAT(kinds, testing::ElementsAre("updated", "synced", "deleted"));
}

}  // namespace
}  // namespace mtm::client
