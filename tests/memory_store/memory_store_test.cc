// SPDX-License-Identifier: Apache-2.0
#include "memory_store/memory_store.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/memory_store/test_memory.h"

namespace mtm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

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

  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const MemoryInfo& info : store_->List()) names.push_back(info.name);
    return names;
  }

  const std::filesystem::path root_ = FreshPath();
  std::unique_ptr<MemoryStore> store_;
};

TEST_F(MemoryStoreTest, WhatWasCommittedIsReadBackBitForBit) {
  const TestMemory content(1);
  const auto created = Create("cats", content);
  EXPECT_TRUE(content.IsIn(*created));
  const auto got = store_->Get("cats");
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(*got, created);
  EXPECT_FALSE(created->has_layer(1));
  EXPECT_TRUE(created->has_layer(2));
  EXPECT_FALSE(created->has_layer(3));
  EXPECT_TRUE(created->has_layer(5));
  EXPECT_FALSE(created->has_layer(6));
  EXPECT_FALSE(created->has_layer(0));
  EXPECT_FALSE(created->has_layer(-1));
}

TEST_F(MemoryStoreTest, WhatWasCommittedIsThereAfterReopening) {
  const TestMemory cats(1), dogs(2, 400'000);
  Create("team/dogs", dogs);
  const MemoryInfo before = Create("cats", cats)->info();
  Reopen();
  EXPECT_THAT(Names(), ElementsAre("cats", "team/dogs"));
  EXPECT_TRUE(cats.IsIn(**store_->Get("cats")));
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

TEST_F(MemoryStoreTest, DeletedMemoryIsGoneWithItsFileAndServesWhoHoldsIt) {
  const TestMemory content(1);
  const auto held = Create("cats", content);
  ASSERT_TRUE(store_->Delete("cats").ok());
  EXPECT_EQ(store_->Get("cats").status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(FilesIn(root_ / "objects"), IsEmpty());
  Reopen();
  EXPECT_THAT(Names(), IsEmpty());
  EXPECT_TRUE(content.IsIn(*held));
}

}  // namespace
}  // namespace mtm
