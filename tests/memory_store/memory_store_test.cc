// SPDX-License-Identifier: Apache-2.0
#include "memory_store/memory_store.h"

#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "memory_store/memory_name.h"
#include "tests/memory_store/test_memory.h"

namespace mtm {
namespace {

using testing::ElementsAre;
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
    auto writer = store_->Create(name, content.spec);
    EXPECT_TRUE(writer.ok()) << writer.status();
    return writer.ok() ? *std::move(writer) : nullptr;
  }

  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const MemoryInfo& info : store_->List()) names.push_back(info.name);
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
  EXPECT_EQ(*got, created);
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
            std::filesystem::file_size(root_ / "objects" / (after.digest + ".mtm")));
  EXPECT_THAT(store_->ListDamaged(), IsEmpty());
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
  EXPECT_THAT(FilesIn(root_ / "objects"), IsEmpty());
  Reopen();
  EXPECT_THAT(Names(), IsEmpty());
  EXPECT_TRUE(content_.IsIn(*held));
}

TEST_F(MemoryStoreTest, DigestIsOfTheContentAlone) {
  const std::string digest = Create("cats", content_)->info().digest;
  EXPECT_EQ(Create("pets", content_)->info().digest, digest);
  // The windows in which it came are not content.
  EXPECT_EQ((*content_.CreateIn(*store_, "beasts", 1))->info().digest, digest);

  TestMemory other = content_;
  other.spec.model_fingerprint[63] = 'b';
  EXPECT_NE(Create("a", other)->info().digest, digest);
  other = content_;
  other.spec.n_dropped = 0;
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
  EXPECT_EQ(FilesIn(root_ / "objects").size(), 1u);
  ASSERT_TRUE(store_->Delete("cats").ok());
  Reopen();
  EXPECT_TRUE(content_.IsIn(**store_->Get("pets")));
  ASSERT_TRUE(store_->Delete("pets").ok());
  EXPECT_THAT(FilesIn(root_ / "objects"), IsEmpty());
}

TEST_F(MemoryStoreTest, ContentOfADeletedMemoryThatIsHeldIsWrittenAnew) {
  const auto held = Create("cats", content_);
  ASSERT_TRUE(store_->Delete("cats").ok());
  Create("cats", content_);
  Reopen();
  EXPECT_THAT(store_->ListDamaged(), IsEmpty());
  ASSERT_TRUE(store_->Get("cats").ok());
  EXPECT_TRUE(content_.IsIn(**store_->Get("cats")));
}

TEST_F(MemoryStoreTest, ReferenceWithDigestIsToThatVersionOnly) {
  const std::string digest = Create("cats", content_)->info().digest;
  EXPECT_TRUE(store_->Get("cats@" + digest).ok());
  EXPECT_TRUE(store_->Get("cats@" + digest.substr(0, 8)).ok());
  std::string other = digest;
  other[7] = other[7] == '0' ? '1' : '0';
  ExpectError(store_->Get("cats@" + other).status(), kNotFound, "its current one is " + digest);
  ExpectError(store_->Delete("cats@" + other.substr(0, 8)), kNotFound, "its current one is " + digest);
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
    ExpectError(store_->Create(name, content_.spec).status(), kInvalid, "");
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
    ExpectError(store_->Create("cats", spec).status(), kInvalid, reason);
  };
  expect_refused([](MemorySpec& s) { s.model_fingerprint = "abc"; }, "model_fingerprint");
  expect_refused([](MemorySpec& s) { s.layers = {}; }, "layers");
  expect_refused([](MemorySpec& s) { s.layers = {0, 1}; }, "layer");
  expect_refused([](MemorySpec& s) { s.layers = {2, 2}; }, "ascend");
  expect_refused([](MemorySpec& s) { s.layers = {3, 2}; }, "ascend");
  expect_refused([](MemorySpec& s) { s.n_head = 0; }, "n_head");
  expect_refused([](MemorySpec& s) { s.head_dim = -1; }, "head_dim");
  expect_refused([](MemorySpec& s) { s.n_dropped = -1; }, "n_dropped");
  expect_refused([](MemorySpec& s) { s.n_tokens = 0; }, "n_tokens");
  expect_refused([](MemorySpec& s) { s.n_tokens = std::numeric_limits<int64_t>::max(); }, "n_tokens");
  EXPECT_THAT(FilesIn(root_ / "objects"), IsEmpty());
}

TEST_F(MemoryStoreTest, SpaceThatTheDiskDoesNotHaveIsRefusedBeforeTheWork) {
  MemorySpec spec = content_.spec;
  spec.n_tokens = 100'000'000;  // 19 TB
  spec.head_dim = 4000;
  const absl::Status status = store_->Create("cats", spec).status();
  if (status.ok()) GTEST_SKIP() << "this file system takes no space ahead of writing";
  ExpectError(status, absl::StatusCode::kResourceExhausted, root_.string());
  EXPECT_THAT(FilesIn(root_ / "objects"), IsEmpty());
}

TEST_F(MemoryStoreTest, CreatingOverANameIsRefused) {
  const std::string digest = Create("cats", content_)->info().digest;
  ExpectError(store_->Create("cats", content_.spec).status(), kExists, digest);
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
    EXPECT_EQ(FilesIn(root_ / "objects").size(), 1u);
    EXPECT_THAT(Names(), IsEmpty());
  }
  EXPECT_THAT(FilesIn(root_ / "objects"), IsEmpty());
  EXPECT_TRUE(store_->Create("cats", content_.spec).ok());
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

TEST_F(MemoryStoreTest, CommitWantsEveryRowOnce) {
  const auto writer = Writer("cats", content_);
  const std::span<const int32_t> tokens(content_.tokens);
  const std::span<const float> keys(content_.keys[0]), values(content_.values[0]);
  ExpectError(writer->Write(2, 0, keys, values), kPrecondition, "no window");
  ExpectError(writer->Commit().status(), kPrecondition, "rows of 7 tokens are missing");
  ExpectError(writer->BeginWindow({}), kInvalid, "no tokens");
  const std::vector<int32_t> negative = {1, -1};
  ExpectError(writer->BeginWindow(negative), kInvalid, "negative");
  ASSERT_TRUE(writer->BeginWindow(tokens.first(2)).ok());
  ExpectError(writer->Write(3, 0, keys.first(8), values.first(8)), kInvalid, "layer 3, head 0 is not kept");
  ExpectError(writer->Write(2, 3, keys.first(8), values.first(8)), kInvalid, "layer 2, head 3 is not kept");
  ExpectError(writer->Write(2, -1, keys.first(8), values.first(8)), kInvalid, "head -1");
  ExpectError(writer->Write(2, 0, keys.first(8), values.first(4)), kInvalid, "8 and 4 numbers instead of 8");
  const std::vector<float> infinite(8, std::numeric_limits<float>::infinity());
  ExpectError(writer->Write(2, 0, keys.first(8), infinite), kInvalid, "not finite");
  ASSERT_TRUE(writer->Write(2, 0, keys.first(8), values.first(8)).ok());
  ExpectError(writer->Write(2, 0, keys.first(8), values.first(8)), kPrecondition, "written before");
  ExpectError(writer->BeginWindow(tokens.last(5)), kPrecondition, "rows of layer 2, head 1 are missing");
  ExpectError(writer->Commit().status(), kPrecondition, "rows of layer 2, head 1 are missing");
  for (size_t i = 1; i < 6; ++i) {
    ASSERT_TRUE(writer->Write(i < 3 ? 2 : 5, static_cast<int>(i % 3), keys.first(8), values.first(8)).ok());
  }
  ExpectError(writer->BeginWindow(tokens.first(6)), kInvalid, "6 tokens, where 5 of 7 are left");
  ExpectError(writer->Commit().status(), kPrecondition, "rows of 5 tokens are missing");
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
  WriteAll(root_ / "objects" / temporary, "half");
  WriteAll(root_ / "objects" / (std::string(64, 'b') + ".mtm"), "orphan");
  WriteAll(root_ / "objects" / "notes.txt", "mine");
  WriteAll(root_ / "objects" / (std::string(63, 'b') + ".mtm"), "mine");
  WriteAll(root_ / "MANIFEST.tmp", "mine");
  Reopen();
  EXPECT_THAT(FilesIn(root_), ElementsAre("LOCK", "MANIFEST", "MANIFEST.tmp", "objects"));
  EXPECT_EQ(FilesIn(root_ / "objects").size(), 3u);
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
        for (const MemoryInfo& info : store_->List()) {
          const auto memory = store_->Get(info.name);
          if (memory.ok()) {
            EXPECT_EQ((*memory)->Search(2, 0, (*memory)->keys(2, 0), 1).size(), 7u);
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
  EXPECT_THAT(FilesIn(root_ / "objects"), IsEmpty());
}

}  // namespace
}  // namespace mtm
