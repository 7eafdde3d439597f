// SPDX-License-Identifier: Apache-2.0
#include "memory_store/memory_store.h"

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "memory_store/memory_name.h"
#include "memory_store/segment.h"
#include "memory_store/transfer.h"
#include "tests/memory_store/test_memory.h"

namespace mtm {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;

class MemoryStoreTest : public testing::Test {
 protected:
  MemoryStoreTest() { Reopen(); }

  void Reopen() {
    store_.reset();
    auto store = MemoryStore::Open(root_);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }

  std::shared_ptr<const Memory> Create(std::string_view name, const TestMemory& content) {
    auto memory = content.CreateIn(*store_, name);
    EXPECT_TRUE(memory.ok()) << memory.status();
    return memory.ok() ? *memory : nullptr;
  }

  std::unique_ptr<MemoryWriter> Writer(std::string_view name, const TestMemory& content) {
    auto writer = store_->Create(name, content.spec, content.Plan(4));
    EXPECT_TRUE(writer.ok()) << writer.status();
    return writer.ok() ? *std::move(writer) : nullptr;
  }

  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const auto& [name, record] : *store_->catalog()) names.push_back(name);
    return names;
  }

  const std::filesystem::path root_ = FreshPath();
  const TestMemory content_{1};
  std::unique_ptr<MemoryStore> store_;
};

void ExpectError(const absl::Status& status, absl::StatusCode code, const std::string& part) {
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(part));
}

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kPrecondition = absl::StatusCode::kFailedPrecondition;
constexpr auto kNotFound = absl::StatusCode::kNotFound;
constexpr auto kExists = absl::StatusCode::kAlreadyExists;

TEST_F(MemoryStoreTest, WhatWasCommittedIsReadBackBitForBit) {
  const auto created = Create("cats", content_);
  EXPECT_TRUE(content_.IsIn(*created));
  const auto got = store_->Get("cats");
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_TRUE(content_.IsIn(**got));
  for (const int kept : {2, 5}) EXPECT_TRUE(created->has_layer(kept));
  for (const int not_kept : {-1, 0, 1, 3, 4, 6}) EXPECT_FALSE(created->has_layer(not_kept));
}

TEST_F(MemoryStoreTest, WhatWasCommittedIsThereAfterReopening) {
  const TestMemory dogs(2, 40'000);
  Create("team/dogs", dogs);
  const MemoryInfo before = Create("cats", content_)->info();
  Reopen();
  EXPECT_THAT(Names(), ElementsAre("cats", "team/dogs"));
  EXPECT_TRUE(content_.IsIn(**store_->Get("cats")));
  EXPECT_TRUE(dogs.IsIn(**store_->Get("team/dogs")));
  const MemoryInfo after = (*store_->Get("cats"))->info();
  EXPECT_EQ(after.name, "cats");
  EXPECT_EQ(after.digest, before.digest);
  EXPECT_EQ(after.create_time, before.create_time);
  EXPECT_EQ(after.size_bytes, before.size_bytes);
  EXPECT_EQ(static_cast<uintmax_t>(after.size_bytes),
            std::filesystem::file_size(root_ / "segments" / (after.digest + ".mtm")));
}

TEST_F(MemoryStoreTest, SearchFindsKeysOfItsLayerAndHead) {
  const auto memory = Create("cats", content_);
  const std::span<const float> query = std::span(content_.keys[4]).subspan(5 * 4, 4);
  EXPECT_THAT(memory->Search(5, 1, query, 1), ElementsAre(Neighbour{.position = 5, .distance = 0}));
  EXPECT_EQ(memory->Search(5, 1, query, 1000).size(), 7u);
  EXPECT_GT(memory->Search(5, 2, query, 1)[0].distance, 0);
}

TEST_F(MemoryStoreTest, DeletedMemoryIsGoneWithItsFileAndServesWhoHoldsIt) {
  const auto held = Create("cats", content_);
  ASSERT_TRUE(store_->Delete("cats").ok());
  ExpectError(store_->Get("cats").status(), kNotFound, "no memory 'cats'");
  ExpectError(store_->Delete("cats"), kNotFound, "no memory 'cats'");
  EXPECT_THAT(FilesIn(root_ / "segments"), IsEmpty());
  Reopen();
  EXPECT_THAT(Names(), IsEmpty());
  EXPECT_TRUE(content_.IsIn(*held));
}

TEST_F(MemoryStoreTest, DigestIsOfTheContentAlone) {
  const std::string digest = Create("cats", content_)->info().digest;
  EXPECT_EQ(Create("pets", content_)->info().digest, digest);
  // Its windows are content: each was run by itself.
  EXPECT_NE((*content_.CreateIn(*store_, "beasts", 1))->info().digest, digest);

  TestMemory other = content_;
  other.spec.model_fingerprint[63] = 'b';
  EXPECT_NE(Create("a", other)->info().digest, digest);
  other = content_;
  other.spec.leading = {};
  EXPECT_NE(Create("b", other)->info().digest, digest);
  other = content_;
  other.spec.layers = {2, 6};
  EXPECT_NE(Create("c", other)->info().digest, digest);
  other = content_;
  other.tokens[6] ^= 1;
  EXPECT_NE(Create("d", other)->info().digest, digest);
  other = content_;
  other.keys[0][0] = -other.keys[0][0];
  EXPECT_NE(Create("e", other)->info().digest, digest);
  other = content_;
  other.values[5].back() = 0;
  EXPECT_NE(Create("f", other)->info().digest, digest);
}

TEST_F(MemoryStoreTest, NamesOfOneContentShareAFileUntilTheLastGoes) {
  Create("cats", content_);
  Create("pets", content_);
  EXPECT_EQ(FilesIn(root_ / "segments").size(), 1u);
  ASSERT_TRUE(store_->Delete("cats").ok());
  Reopen();
  EXPECT_TRUE(content_.IsIn(**store_->Get("pets")));
  ASSERT_TRUE(store_->Delete("pets").ok());
  EXPECT_THAT(FilesIn(root_ / "segments"), IsEmpty());
}

TEST_F(MemoryStoreTest, ContentOfADeletedMemoryThatIsHeldIsWrittenAnew) {
  const auto held = Create("cats", content_);
  ASSERT_TRUE(store_->Delete("cats").ok());
  Create("cats", content_);
  Reopen();
  ASSERT_TRUE(store_->Get("cats").ok());
  EXPECT_TRUE(content_.IsIn(**store_->Get("cats")));
}

TEST_F(MemoryStoreTest, ReferenceWithDigestIsToThatVersionOnly) {
  const std::string digest = Create("cats", content_)->info().digest;
  EXPECT_TRUE(store_->Get("cats@" + digest).ok());
  EXPECT_TRUE(store_->Get("cats@" + digest.substr(0, 8)).ok());
  std::string other = digest;
  other[7] = other[7] == '0' ? '1' : '0';
  ExpectError(store_->Get("cats@" + other).status(), kNotFound, digest.substr(0, 12));
  ExpectError(store_->Delete("cats@" + other.substr(0, 8)), kNotFound, digest.substr(0, 12));
  ExpectError(store_->Get("cats@" + digest.substr(0, 7)).status(), kInvalid, "8 to 64");
  ExpectError(store_->Get("cats@" + digest + "0").status(), kInvalid, "8 to 64");
  ExpectError(store_->Get("cats@").status(), kInvalid, "8 to 64");
  ExpectError(store_->Get("cats@ABCDEF01").status(), kInvalid, "8 to 64");
  EXPECT_TRUE(store_->Delete("cats@" + digest.substr(0, 12)).ok());
}

TEST(CloseNames, AreThoseThatMayHaveBeenMeant) {
  const std::vector<std::string> names = {"cats", "bats", "team/cats", "vancouver"};
  EXPECT_THAT(CloseNames("cat", names), ElementsAre("cats", "bats"));
  EXPECT_THAT(CloseNames("vancoover", names), ElementsAre("vancouver"));
  EXPECT_THAT(CloseNames("something-else", names), IsEmpty());
}

TEST_F(MemoryStoreTest, BadNamesAreRefused) {
  for (const char* name : {"", "Cats", "-cats", ".cats", "cats/", "/cats", "a//b", "a/b/c/d/e", "a b", "..",
                           "a/../b", "a/.", "caf\xc3\xa9", "a\n", "a@b"}) {
    ExpectError(store_->Create(name, content_.spec, content_.Plan(4)).status(), kInvalid, "");
    ExpectError(CheckMemoryName(name), kInvalid, "memory name '");
  }
  const std::string longest(63, 'x');
  EXPECT_TRUE(CheckMemoryName(longest + "/" + longest + "/" + longest + "/" + longest).ok());
  ExpectError(CheckMemoryName(longest + "x"), kInvalid, "longer than 63");
  ExpectError(CheckMemoryName(std::string(1'000'000, 'x')), kInvalid, "too long");
  EXPECT_LT(CheckMemoryName(std::string(1'000'000, 'x')).message().size(), 300u);
  ExpectError(CheckMemoryName("a\n"), kInvalid, "'a\\n'");
  for (const char* name : {"a", "0", "a.b_c-d", "team/cats", "a/b/c/d", "1..2"}) {
    EXPECT_TRUE(CheckMemoryName(name).ok()) << name;
  }
}

TEST_F(MemoryStoreTest, SpecThatIsNoMemoryIsRefused) {
  const auto expect_refused = [&](auto change, const std::string& reason) {
    MemorySpec spec = content_.spec;
    change(spec);
    ExpectError(store_->Create("cats", spec, content_.Plan(4)).status(), kInvalid, reason);
  };
  expect_refused([](MemorySpec& s) { s.model_fingerprint = "abc"; }, "model_fingerprint");
  expect_refused([](MemorySpec& s) { s.layers = {}; }, "layers");
  expect_refused([](MemorySpec& s) { s.layers = {0, 1}; }, "layer");
  expect_refused([](MemorySpec& s) { s.layers = {2, 2}; }, "ascend");
  expect_refused([](MemorySpec& s) { s.layers = {3, 2}; }, "ascend");
  expect_refused([](MemorySpec& s) { s.n_head = 0; }, "n_head");
  expect_refused([](MemorySpec& s) { s.head_dim = -1; }, "head_dim");
  ExpectError(store_->Create("cats", content_.spec, {}).status(), kInvalid, "window");
  EXPECT_THAT(FilesIn(root_ / "segments"), IsEmpty());
}

TEST_F(MemoryStoreTest, SpaceThatTheDiskDoesNotHaveIsRefusedBeforeTheWork) {
  MemorySpec spec = content_.spec;
  spec.head_dim = 4000;
  const absl::Status status = store_->Create("cats", spec, {{100'000'000, ""}}).status();  // 19 TB
  if (status.ok()) GTEST_SKIP() << "this file system takes no space ahead of writing";
  ExpectError(status, absl::StatusCode::kResourceExhausted, root_.string());
  EXPECT_THAT(FilesIn(root_ / "segments"), IsEmpty());
}

TEST_F(MemoryStoreTest, CreatingOverANameIsRefused) {
  const std::string digest = Create("cats", content_)->info().digest;
  ExpectError(store_->Create("cats", content_.spec, content_.Plan(4)).status(), kExists, digest);
}

TEST_F(MemoryStoreTest, OfTwoWritersOfOneNameTheFirstToCommitWins) {
  const TestMemory other(2);
  const auto first = Writer("cats", content_);
  const auto second = Writer("cats", other);
  ASSERT_TRUE(content_.WriteTo(*first, 4).ok());
  ASSERT_TRUE(other.WriteTo(*second, 4).ok());
  ASSERT_TRUE(first->Commit().ok());
  ExpectError(second->Commit().status(), kExists, "'cats'");
  EXPECT_TRUE(content_.IsIn(**store_->Get("cats")));
}

TEST_F(MemoryStoreTest, WriterDroppedWithoutCommitLeavesNothing) {
  {
    const auto writer = Writer("cats", content_);
    ASSERT_TRUE(content_.WriteTo(*writer, 4).ok());
    EXPECT_EQ(FilesIn(root_ / "segments").size(), 1u);
    EXPECT_THAT(Names(), IsEmpty());
  }
  EXPECT_THAT(FilesIn(root_ / "segments"), IsEmpty());
  EXPECT_TRUE(store_->Create("cats", content_.spec, content_.Plan(4)).ok());
}

TEST_F(MemoryStoreTest, WriterOutlivesItsStoreAndKeepsTheFolderLocked) {
  auto writer = Writer("cats", content_);
  store_.reset();
  EXPECT_EQ(MemoryStore::Open(root_).status().code(), kPrecondition);
  ASSERT_TRUE(content_.WriteTo(*writer, 4).ok());
  ASSERT_TRUE(writer->Commit().ok());
  writer.reset();
  Reopen();
  EXPECT_TRUE(content_.IsIn(**store_->Get("cats")));
}

TEST_F(MemoryStoreTest, WriterCommitsOnce) {
  const auto writer = Writer("cats", content_);
  ASSERT_TRUE(content_.WriteTo(*writer, 4).ok());
  ASSERT_TRUE(writer->Commit().ok());
  ASSERT_TRUE(store_->Delete("cats").ok());
  ExpectError(writer->Commit().status(), kPrecondition, "committed already");
  ExpectError(writer->BeginWindow(content_.tokens), kPrecondition, "committed already");
}

TEST_F(MemoryStoreTest, FolderThatIsInUseIsRefused) {
  ExpectError(MemoryStore::Open(root_).status(), kPrecondition, "folder " + root_.string() + " is in use");
}

TEST_F(MemoryStoreTest, FolderThatCannotBeIsRefused) {
  WriteAll(root_ / "file", "");
  ExpectError(MemoryStore::Open(root_ / "file").status(), kPrecondition, (root_ / "file").string());
  EXPECT_FALSE(MemoryStore::Open("/proc/no/such").ok());
}

TEST_F(MemoryStoreTest, LeftoversAreRemovedAtOpenAndOtherFilesLeftAlone) {
  Create("cats", content_);
  const std::string temporary = std::string(32, 'a') + ".tmp";
  WriteAll(root_ / ("MANIFEST." + temporary), "half");
  WriteAll(root_ / "segments" / temporary, "half");
  WriteAll(root_ / "segments" / (std::string(64, 'b') + ".mtm"), "orphan");
  WriteAll(root_ / "segments" / "notes.txt", "mine");
  WriteAll(root_ / "segments" / (std::string(63, 'b') + ".mtm"), "mine");
  WriteAll(root_ / "MANIFEST.tmp", "mine");
  Reopen();
  EXPECT_THAT(FilesIn(root_), testing::IsSupersetOf({"LOCK", "MANIFEST", "MANIFEST.tmp", "segments"}));
  EXPECT_EQ(FilesIn(root_ / "segments").size(), 3u);
  EXPECT_THAT(Names(), ElementsAre("cats"));
}

TEST_F(MemoryStoreTest, ManyThreadsCreateReadSearchAndDelete) {
  constexpr int kThreads = 4, kRounds = 8;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const std::string own = "thread/" + std::to_string(t);
      for (int round = 0; round < kRounds; ++round) {
        // Odd rounds write what the other threads write too: they share one file.
        const TestMemory content(round % 2 == 1 ? 100u : static_cast<uint32_t>(t));
        const auto created = content.CreateIn(*store_, own);
        EXPECT_TRUE(created.ok()) << created.status();
        for (const std::string& name : Names()) {
          const auto memory = store_->Get(name);
          if (memory.ok()) {
            EXPECT_EQ((*memory)->Search(2, 0, content.keys[0], 1).size(), 7u);
          }
        }
        const auto again = store_->Get(own);
        EXPECT_TRUE(again.ok() && content.IsIn(**again));
        EXPECT_TRUE(store_->Delete(own).ok());
        EXPECT_TRUE(content.IsIn(**created));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(Names(), IsEmpty());
  EXPECT_THAT(FilesIn(root_ / "segments"), IsEmpty());
}

// ---- versions

class VersionTest : public MemoryStoreTest {
 protected:
  // `part` behind what is there.
  absl::StatusOr<std::shared_ptr<const Memory>> Append(const std::string& name, const TestMemory& part,
                                                       const CommitOptions& options = {}) {
    const auto base = store_->Get(name);
    if (!base.ok()) return base.status();
    auto writer = store_->Revise(*base, {.first = (*base)->segments().size(), .count = 0}, part.Plan(4));
    if (!writer.ok()) return writer.status();
    if (absl::Status status = part.WriteTo(**writer, 4); !status.ok()) return status;
    return (*writer)->Commit(options);
  }
  absl::StatusOr<std::shared_ptr<const Memory>> Replace(const std::string& name, const TestMemory& content,
                                                        const CommitOptions& options = {}) {
    auto writer = store_->Replace(name, content.spec, content.Plan(4));
    if (!writer.ok()) return writer.status();
    if (absl::Status status = content.WriteTo(**writer, 4); !status.ok()) return status;
    return (*writer)->Commit(options);
  }
  void ReopenWith(StoreOptions options) {
    store_.reset();
    store_ = MemoryStore::Open(root_, std::move(options)).value();
  }
  size_t n_versions(const std::string& name) { return (*store_->Find(name))->versions.size(); }

  const TestMemory whole_{7, 12};
};

TEST_F(VersionTest, AnAppendEqualsTheWholeOfTheSameWindows) {
  const std::string digest = (*whole_.CreateIn(*store_, "whole", 4))->info().digest;
  const MemoryInfo whole = (*store_->Find("whole"))->info;
  ASSERT_TRUE(whole_.Part(0, 8).CreateIn(*store_, "m", 4).ok());
  const auto appended = Append("m", whole_.Part(8, 4));
  ASSERT_TRUE(appended.ok()) << appended.status();
  EXPECT_EQ((*appended)->segments().size(), 2u);
  EXPECT_EQ((*appended)->info().digest, digest);
  EXPECT_EQ((*appended)->info().source_digest, whole.source_digest);
  EXPECT_TRUE(whole_.IsIn(**appended));
  Reopen();
  EXPECT_TRUE(whole_.IsIn(**store_->Get("m")));
  EXPECT_EQ(n_versions("m"), 2u);
}

TEST_F(VersionTest, ARunOfSegmentsIsReplacedByOneAndCopiedBitForBit) {
  ASSERT_TRUE(whole_.Part(0, 4).CreateIn(*store_, "m", 4).ok());
  ASSERT_TRUE(Append("m", whole_.Part(4, 4)).ok());
  ASSERT_TRUE(Append("m", whole_.Part(8, 4)).ok());
  const auto base = *store_->Get("m");
  ASSERT_EQ(base->segments().size(), 3u);
  auto writer = *store_->Revise(base, {.first = 1, .count = 2}, {{4, ""}, {4, ""}});
  for (const size_t window : {1, 2}) ASSERT_TRUE(writer->CopyWindow(*base, window).ok());
  const auto merged = writer->Commit();
  ASSERT_TRUE(merged.ok()) << merged.status();
  EXPECT_EQ((*merged)->segments().size(), 2u);
  EXPECT_EQ((*merged)->info().digest, base->info().digest);
  EXPECT_TRUE(whole_.IsIn(**merged));
}

TEST_F(VersionTest, OldVersionsAreAddressedByDigestAndKeptWithinTheBound) {
  ReopenWith({.max_versions = 2});
  const std::string first = Create("m", content_)->info().digest;
  ASSERT_TRUE(Replace("m", TestMemory(2)).ok());
  EXPECT_TRUE(content_.IsIn(**store_->Get("m@" + first)));
  ASSERT_TRUE(Replace("m", TestMemory(3)).ok());
  EXPECT_EQ(n_versions("m"), 2u);
  ExpectError(store_->Get("m@" + first).status(), kNotFound, "m");
  EXPECT_EQ(FilesIn(root_ / "segments").size(), 2u);
}

TEST_F(VersionTest, ARollbackGoesBackAndAPurgeLeavesOne) {
  const std::string first = Create("m", content_)->info().digest;
  ASSERT_TRUE(Replace("m", TestMemory(2)).ok());
  ASSERT_TRUE(store_->Rollback("m", first.substr(0, 8)).ok());
  EXPECT_TRUE(content_.IsIn(**store_->Get("m")));
  EXPECT_EQ(n_versions("m"), 2u);
  ExpectError(store_->Rollback("m", std::string(64, '0')).status(), kNotFound, "m");
  ASSERT_TRUE(Replace("m", TestMemory(3), {.purge_older_versions = true}).ok());
  EXPECT_EQ(n_versions("m"), 1u);
  EXPECT_EQ(FilesIn(root_ / "segments").size(), 1u);
}

TEST_F(VersionTest, AChangeOfWhatIsNoLongerCurrentIsAborted) {
  const auto base = Create("m", content_);
  auto writer = *store_->Revise(base, {.first = 1, .count = 0}, content_.Plan(4));
  ASSERT_TRUE(content_.WriteTo(*writer, 4).ok());
  ASSERT_TRUE(Replace("m", TestMemory(2)).ok());
  EXPECT_EQ(writer->Commit().status().code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(TestMemory(2).IsIn(**store_->Get("m")));
}

TEST_F(VersionTest, AWriteWithAKnownIdHappensOnce) {
  ASSERT_TRUE(whole_.Part(0, 8).CreateIn(*store_, "m", 4).ok());
  const auto once = Append("m", whole_.Part(8, 4), {.request_id = "id"});
  ASSERT_TRUE(once.ok());
  Reopen();
  EXPECT_EQ(store_->FindWrite("id")->digest, (*once)->info().digest);
  const auto again = Append("m", whole_.Part(8, 4), {.request_id = "id"});
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ((*again)->info().digest, (*once)->info().digest);
  EXPECT_EQ((*store_->Get("m"))->n_tokens(), 12);
  EXPECT_THAT(FilesIn(root_ / "segments"), Each(EndsWith(".mtm")));
  ASSERT_TRUE(store_->Delete("m", {.request_id = "gone"}).ok());
  EXPECT_TRUE(store_->Delete("m", {.request_id = "gone"}).ok());
}

TEST_F(VersionTest, ACopyTakesNoRoomAndLabelsAreOfTheName) {
  Create("m", content_);
  ASSERT_TRUE(store_->Update("m", {.labels = {{{"kind", "cat"}}}, .metadata = "{}"}).ok());
  ASSERT_TRUE(store_->Copy("m", "team/n").ok());
  EXPECT_EQ(FilesIn(root_ / "segments").size(), 1u);
  ASSERT_TRUE(Replace("m", TestMemory(2)).ok());
  Reopen();
  EXPECT_EQ((*store_->Find("m"))->labels.at("kind"), "cat");
  EXPECT_EQ((*store_->Find("m"))->metadata, "{}");
  EXPECT_TRUE(content_.IsIn(**store_->Get("team/n")));
  ExpectError(store_->Copy("m", "team/n").status(), kExists, "team/n");
}

TEST_F(VersionTest, WithinTheBudgetWhatWasUsedLeastRecentlyIsLetGo) {
  const int64_t size = Create("a", TestMemory(1))->info().size_bytes;
  for (const char* name : {"b", "c"}) Create(name, TestMemory(static_cast<uint32_t>(name[0])));
  ReopenWith({.max_resident_bytes = 2 * size});
  EXPECT_TRUE(store_->WouldLoad("a"));
  auto a = store_->Get("a");
  ASSERT_TRUE(store_->Get("b").ok());
  ASSERT_TRUE(store_->Get("c").ok());  // `a` is in use, `b` is not
  EXPECT_FALSE(store_->WouldLoad("a"));
  EXPECT_TRUE(store_->WouldLoad("b"));
  EXPECT_LE(store_->resident_bytes(), 2 * size);
  const auto c = store_->Get("c");
  ExpectError(store_->Get("b").status(), absl::StatusCode::kResourceExhausted, "");
  a = absl::NotFoundError("");
  EXPECT_TRUE(store_->Get("b").ok());
  ReopenWith({.max_resident_bytes = size - 1});
  ExpectError(store_->Get("b").status(), absl::StatusCode::kFailedPrecondition, "whole budget");
}

// Two of its three segments would fit: nothing is loaded of it, and nothing let go for it.
TEST_F(VersionTest, AMemoryOfSegmentsThatNeverFitTogetherCostsTheOthersNothing) {
  const int64_t size = Create("other", content_)->info().size_bytes;
  ASSERT_TRUE(whole_.Part(0, 4).CreateIn(*store_, "m", 4).ok());
  ASSERT_TRUE(Append("m", whole_.Part(4, 4)).ok());
  const int64_t all = (*Append("m", whole_.Part(8, 4)))->info().size_bytes;
  ASSERT_LE(size, all - 1);
  ReopenWith({.max_resident_bytes = all - 1});
  ASSERT_TRUE(store_->Get("other").ok());
  ExpectError(store_->Get("m").status(), absl::StatusCode::kFailedPrecondition, "whole budget");
  EXPECT_EQ(store_->resident_bytes(), size);
  EXPECT_FALSE(store_->WouldLoad("other"));
  ReopenWith({.max_resident_bytes = all});
  EXPECT_TRUE(whole_.IsIn(**store_->Get("m")));
}

TEST_F(VersionTest, DamageIsQuarantinedAndTheOthersServe) {
  const std::string good = Create("m", content_)->info().digest;
  const std::string bad = (*Replace("m", TestMemory(2)))->info().digest;
  Create("other", TestMemory(3));
  store_.reset();
  const auto path = root_ / "segments" / (bad + ".mtm");
  std::string bytes = ReadAll(path);
  bytes[bytes.size() / 2] ^= 1;
  WriteAll(path, bytes);
  Reopen();
  ExpectError(store_->Get("m").status(), absl::StatusCode::kDataLoss, path.string());
  EXPECT_EQ(store_->catalog()->at("m")->state, MemoryState::kQuarantined);
  EXPECT_TRUE(content_.IsIn(**store_->Get("m@" + good)));
  EXPECT_TRUE(store_->Get("other").ok());
  ASSERT_TRUE(store_->Rollback("m", good).ok());
  EXPECT_TRUE(content_.IsIn(**store_->Get("m")));
}

TEST_F(VersionTest, AReaderBesideTheWriterSeesItsChanges) {
  Create("m", content_);
  Create("unchanged", TestMemory(3));
  const auto reader =
      MemoryStore::Open(root_, {.read_only = true, .poll_interval = absl::Milliseconds(5)}).value();
  EXPECT_TRUE(content_.IsIn(**reader->Get("m")));
  const auto unchanged = reader->catalog()->at("unchanged");
  ExpectError(reader->Delete("m"), kPrecondition, "read");
  ExpectError(reader->Create("n", content_.spec, content_.Plan(4)).status(), kPrecondition, "read");
  std::mutex mutex;
  std::condition_variable changed;
  const auto listening = reader->Listen([&] {
    const std::lock_guard lock(mutex);
    changed.notify_all();
  });
  const std::string next = (*Replace("m", TestMemory(2)))->info().digest;
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return reader->catalog()->at("m")->info.digest == next; });
  lock.unlock();
  EXPECT_TRUE(TestMemory(2).IsIn(**reader->Get("m")));
  EXPECT_EQ(reader->catalog()->at("unchanged"), unchanged);  // a watcher is not told of it again
}

TEST_F(VersionTest, AnEmptyManifestIsDamageToAReaderToo) {
  Create("m", content_);
  store_.reset();
  WriteAll(root_ / "MANIFEST", "");
  ExpectError(MemoryStore::Open(root_, {.read_only = true}).status(), absl::StatusCode::kDataLoss,
              "MANIFEST");
}

TEST_F(VersionTest, QuotasAreOfANamespace) {
  ReopenWith({.quotas = {.of = {{"team", {.max_memories = 1}}, {"small", {.max_tokens = 8}}}}});
  Create("team/a", content_);
  ExpectError(content_.CreateIn(*store_, "team/b").status(), absl::StatusCode::kResourceExhausted, "team");
  EXPECT_TRUE(content_.CreateIn(*store_, "other/b").ok());
  Create("small/a", content_);
  ExpectError(Append("small/a", content_).status(), absl::StatusCode::kResourceExhausted, "small");
  store_->SetQuotas({.others = {.max_memories = 1}, .of = {{"team", {.max_memories = 2}}}});
  Create("team/b", content_);
  ExpectError(content_.CreateIn(*store_, "small/b").status(), absl::StatusCode::kResourceExhausted, "small");
  EXPECT_TRUE(Append("small/a", content_).ok());
}

TEST_F(VersionTest, WhatIsExportedIsImportedWithTheSameDigest) {
  const std::string digest = Create("m", content_)->info().digest;
  const auto source = store_->Export("m").value();
  std::vector<std::byte> bytes(static_cast<size_t>(source->size()));
  ASSERT_TRUE(source->Read(0, bytes).ok());
  const auto other = MemoryStore::Open(FreshPath("other")).value();
  {
    const auto broken_off = other->Import("n", digest, source->size()).value();
    ASSERT_TRUE(broken_off->Write(std::span(bytes).first(5000)).ok());
  }
  const auto resumed = other->Import("n", digest, source->size()).value();
  const auto offset = static_cast<size_t>(resumed->offset());
  EXPECT_GT(offset, 0u);
  ASSERT_TRUE(resumed->Write(std::span(bytes).subspan(offset)).ok());
  const auto imported = resumed->Commit({});
  ASSERT_TRUE(imported.ok()) << imported.status();
  EXPECT_EQ((*imported)->info().digest, digest);
  EXPECT_TRUE(content_.IsIn(**imported));
}

}  // namespace
}  // namespace mtm
