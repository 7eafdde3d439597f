// SPDX-License-Identifier: Apache-2.0
// A memory whose file is damaged is listed with what and where, is never served, and does not keep others
// from it.
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "memory_store/digest.h"
#include "memory_store/memory_header.h"
#include "memory_store/memory_layout.h"
#include "memory_store/memory_store.h"
#include "spdlog/spdlog.h"
#include "tests/memory_store/test_memory.h"

namespace mtm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class DamageTest : public testing::Test {
 protected:
  DamageTest() {
    spdlog::set_level(spdlog::level::off);  // each case logs an error, as it should
    auto store = MemoryStore::Open(root_);
    EXPECT_TRUE(store.ok()) << store.status();
    EXPECT_TRUE(dogs_.CreateIn(**store, "dogs").ok());
    const auto cats = cats_.CreateIn(**store, "cats");
    EXPECT_TRUE(cats.ok()) << cats.status();
    digest_ = (*cats)->info().digest;
    path_ = root_ / "objects" / (digest_ + ".mtm");
    good_ = ReadAll(path_);
    layout_ = LayOut(cats_.spec);
    EXPECT_EQ(good_.size(), layout_.file_size());
  }

  ~DamageTest() override { spdlog::set_level(spdlog::level::info); }

  // Opens the store with these bytes in the place of the memory's.
  std::unique_ptr<MemoryStore> OpenWith(const std::string& bytes) {
    WriteAll(path_, bytes);
    auto store = MemoryStore::Open(root_);
    EXPECT_TRUE(store.ok()) << store.status();
    return *std::move(store);
  }

  void ExpectDamaged(const std::string& bytes, const std::string& reason = "",
                     absl::StatusCode code = absl::StatusCode::kDataLoss) {
    const std::unique_ptr<MemoryStore> store = OpenWith(bytes);
    const absl::Status status = store->Get("cats").status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(path_.string()));
    EXPECT_THAT(std::string(status.message()), HasSubstr(reason));
    ASSERT_EQ(store->ListDamaged().size(), 1u);
    EXPECT_EQ(store->ListDamaged()[0].name, "cats");
    EXPECT_THAT(store->ListDamaged()[0].reason, HasSubstr(reason));
    EXPECT_EQ(store->List().size(), 1u);
    const auto dogs = store->Get("dogs");
    ASSERT_TRUE(dogs.ok()) << dogs.status();
    EXPECT_TRUE(dogs_.IsIn(**dogs));
    EXPECT_TRUE(std::filesystem::exists(path_));
  }

  std::string Flipped(uint64_t at) const {
    std::string bytes = good_;
    bytes[at] ^= 0x10;
    return bytes;
  }

  const std::filesystem::path root_ = FreshPath();
  const TestMemory cats_{1, 60'000}, dogs_{2};
  std::string digest_;
  std::filesystem::path path_;
  std::string good_;
  MemoryLayout layout_;
};

TEST_F(DamageTest, FlippedByteAnywhereInThePreambleIsFound) {
  for (uint64_t at = 0; at < kPreambleSize; ++at) ExpectDamaged(Flipped(at));
}

TEST_F(DamageTest, FlippedByteInTheHeaderIsFound) {
  ExpectDamaged(Flipped(kPreambleSize), "its header does not match its checksum");
  ExpectDamaged(Flipped(kPreambleSize + 300), "its header does not match its checksum");
}

TEST_F(DamageTest, FlippedByteInASectionIsFoundWithItsBlockAndSection) {
  for (const MemorySection& section : layout_.sections) {
    for (const uint64_t at :
         {section.offset, section.offset + section.size / 2, section.offset + section.size - 1}) {
      const std::string block = "block " + std::to_string(at / kBlockSize) + " (bytes ";
      ExpectDamaged(Flipped(at), block);
      ExpectDamaged(Flipped(at), section.Describe());
    }
  }
}

TEST_F(DamageTest, FlippedByteBetweenSectionsIsFound) {
  ExpectDamaged(Flipped(layout_.sections[0].offset - 1), "block 0");
  ExpectDamaged(Flipped(layout_.sections[1].offset - 1), "does not match its checksum");
  ExpectDamaged(Flipped(layout_.data_size - 1), "does not match its checksum");
}

TEST_F(DamageTest, FlippedByteInTheTableOrAfterItIsFound) {
  for (const uint64_t at :
       {layout_.data_size, layout_.data_size + 8 * layout_.n_blocks(), layout_.file_size() - 1}) {
    ExpectDamaged(Flipped(at), "its table of checksums does not match its own checksum");
  }
}

TEST_F(DamageTest, FileCutAtEveryBorderAndWithinIsFound) {
  std::vector<uint64_t> cuts = {0,
                                1,
                                8,
                                12,
                                16,
                                24,
                                kPreambleSize,
                                kPreambleSize + 100,
                                layout_.data_size,
                                layout_.data_size + 8,
                                layout_.file_size() - 1};
  for (const MemorySection& section : layout_.sections) {
    cuts.insert(cuts.end(), {section.offset, section.offset + 1, section.offset + section.size});
  }
  for (const uint64_t size : cuts) ExpectDamaged(good_.substr(0, size));
  ExpectDamaged(good_ + '\0', "bytes instead of");
}

TEST_F(DamageTest, MissingFileIsFound) {
  OpenWith(good_);
  std::filesystem::remove(path_);
  auto store = MemoryStore::Open(root_);
  ASSERT_TRUE(store.ok());
  EXPECT_THAT((*store)->ListDamaged()[0].reason, HasSubstr("the file is missing"));
}

TEST_F(DamageTest, AnotherMemoryUnderItsNameIsFound) {
  const auto dogs = OpenWith(good_)->Get("dogs");
  ExpectDamaged(ReadAll(root_ / "objects" / ((*dogs)->info().digest + ".mtm")), "it holds another memory");
}

// Writes the version, or another field of the preamble, with the right checksum.
std::string WithPreamble(std::string bytes, size_t at, uint32_t number) {
  uint32_t header_size;
  std::memcpy(&header_size, &bytes[12], sizeof(header_size));
  std::memcpy(&bytes[at], &number, sizeof(number));
  const uint64_t checksum = BlockChecksum(bytes.substr(0, 24) + bytes.substr(kPreambleSize, header_size));
  std::memcpy(&bytes[24], &checksum, sizeof(checksum));
  return bytes;
}

TEST_F(DamageTest, FileOfANewerVersionIsRefusedNamingBoth) {
  ExpectDamaged(WithPreamble(good_, 8, 2), "it has format version 2; this reader reads version 1",
                absl::StatusCode::kFailedPrecondition);
}

TEST_F(DamageTest, DamagedMemoryCanBeDeleted) {
  const std::unique_ptr<MemoryStore> store = OpenWith(Flipped(good_.size() / 2));
  EXPECT_EQ(store->Create("cats", cats_.spec).status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(store->Delete("cats").ok());
  EXPECT_THAT(store->ListDamaged(), IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(path_));
  EXPECT_TRUE(cats_.CreateIn(*store, "cats").ok());
}

TEST_F(DamageTest, SameContentWrittenAnewMendsADamagedMemory) {
  std::unique_ptr<MemoryStore> store = OpenWith(Flipped(good_.size() / 2));
  ASSERT_TRUE(cats_.CreateIn(*store, "cats-again").ok());
  EXPECT_THAT(store->ListDamaged(), IsEmpty());
  EXPECT_TRUE(cats_.IsIn(**store->Get("cats")));
  store.reset();
  store = *MemoryStore::Open(root_);
  EXPECT_TRUE(cats_.IsIn(**store->Get("cats")));
}

TEST_F(DamageTest, DamagedOrMissingManifestRefusesTheFolderAndTouchesNothing) {
  const std::filesystem::path manifest = root_ / "MANIFEST";
  const std::string good = ReadAll(manifest);
  const std::vector<std::string> objects = FilesIn(root_ / "objects");
  const auto expect_refused = [&] {
    const absl::Status status = MemoryStore::Open(root_).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(manifest.string()));
    EXPECT_EQ(FilesIn(root_ / "objects"), objects);
  };
  for (size_t at = 0; at < good.size(); ++at) {
    std::string bytes = good;
    bytes[at] ^= 4;
    WriteAll(manifest, bytes);
    expect_refused();
    WriteAll(manifest, good.substr(0, at));
    expect_refused();
  }
  std::filesystem::remove(manifest);
  expect_refused();
  WriteAll(manifest, good);
  EXPECT_EQ((*MemoryStore::Open(root_))->List().size(), 2u);
}

}  // namespace
}  // namespace mtm
