// SPDX-License-Identifier: Apache-2.0
#include "memory_store/saved_tensor.h"

#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/memory_store/saved_tensor_builder.h"
#include "tests/memory_store/test_memory.h"

namespace mtm {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();

class SavedTensorTest : public testing::Test {
 protected:
  absl::StatusOr<Matrix> ReadBack(const SavedTensorBuilder& builder) {
    builder.Write(path_);
    return ReadSavedMatrix(path_);
  }

  // What is refused is INVALID_ARGUMENT, and the message begins with the path.
  void ExpectRefused(const SavedTensorBuilder& builder, const std::string& reason) {
    const absl::Status status = ReadBack(builder).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), AllOf(testing::StartsWith(path_.string()), HasSubstr(reason)));
  }

  const std::filesystem::path path_ = FreshPath("tensor.pt");
  SavedTensorBuilder good_ = SavedTensorBuilder::Rows(2, 3, {1, 2, 3, 4, 5, 6});
};

TEST_F(SavedTensorTest, ContiguousTensorIsRead) {
  const auto matrix = ReadBack(good_);
  ASSERT_TRUE(matrix.ok()) << matrix.status();
  EXPECT_EQ(matrix->n_rows, 2);
  EXPECT_EQ(matrix->n_columns, 3);
  EXPECT_THAT(matrix->data, ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST_F(SavedTensorTest, StridedViewIsRead) {
  good_.sizes = {2, 2};  // transposed, from the second element on
  good_.strides = {1, 3};
  good_.offset = 1;
  const auto matrix = ReadBack(good_);
  ASSERT_TRUE(matrix.ok()) << matrix.status();
  EXPECT_THAT(matrix->data, ElementsAre(2, 5, 3, 6));
}

TEST_F(SavedTensorTest, ViewBeyondItsStorageIsRefused) {
  const auto with = [&](std::vector<int64_t> sizes, std::vector<int64_t> strides, int64_t offset) {
    SavedTensorBuilder builder = good_;
    builder.sizes = std::move(sizes);
    builder.strides = std::move(strides);
    builder.offset = offset;
    return builder;
  };
  for (const SavedTensorBuilder& builder :
       {with({2, 3}, {3, 1}, 1), with({3, 3}, {3, 1}, 0), with({2, 3}, {4, 1}, 0), with({2, 3}, {-3, 1}, 5),
        with({2, 3}, {3, 1}, -1), with({0, 3}, {3, 1}, 0), with({-1, -3}, {3, 1}, 0),
        with({kMax, 2}, {0, 0}, 0), with({2, kMax}, {1, 1}, 0), with({1, 1}, {1, 1}, kMax),
        with({2, 2}, {kMax, kMax}, 0), with({7, 1}, {0, 0}, 0)}) {
    ExpectRefused(builder, "reaches beyond its storage");
  }
}

TEST_F(SavedTensorTest, OtherThanTwoDimensionsAreRefused) {
  good_.sizes = {6};
  good_.strides = {1};
  ExpectRefused(good_, "1 dimensions instead of 2");
  good_.sizes = {1, 2, 3};
  good_.strides = {6, 3, 1};
  ExpectRefused(good_, "3 dimensions instead of 2");
}

TEST_F(SavedTensorTest, StorageOfAnotherSizeThanClaimedIsRefused) {
  for (const int64_t claimed : {int64_t{7}, int64_t{1} << 35}) {
    good_.claimed_storage_size = claimed;
    ExpectRefused(good_, "its data has 24 bytes");
  }
  for (const int64_t claimed : {int64_t{-6}, kMax}) {
    good_.claimed_storage_size = claimed;
    ExpectRefused(good_, "reaches beyond its storage");
  }
}

TEST_F(SavedTensorTest, GlobalsThatATensorDoesNotNeedAreRefusedByName) {
  good_.rebuild = "os\nsystem";
  ExpectRefused(good_, "global 'os.system' at byte 2");
  good_.rebuild = "torch._utils\n_rebuild_tensor_v2";
  good_.storage_type = "HalfStorage";
  ExpectRefused(good_, "global 'torch.HalfStorage'");
}

TEST_F(SavedTensorTest, InstructionsThatATensorDoesNotNeedAreRefusedByByte) {
  const std::string pickle = good_.Pickle();
  good_.pickle = pickle.substr(0, pickle.size() - 1) + "b.";
  ExpectRefused(good_, "instruction 0x62 at byte " + std::to_string(pickle.size() - 1));
}

TEST_F(SavedTensorTest, PickleCutAnywhereIsRefused) {
  const std::string pickle = good_.Pickle();
  for (size_t size = 0; size < pickle.size(); ++size) {
    good_.pickle = pickle.substr(0, size);
    ExpectRefused(good_, "pickle: ");
  }
}

TEST_F(SavedTensorTest, PickleWithAnyByteChangedIsReadOrRefused) {
  const std::string pickle = good_.Pickle();
  for (size_t at = 0; at < pickle.size(); ++at) {
    for (const int flip : {1, 2, 0x10, 0x80, 0xff}) {
      good_.pickle = pickle;
      (*good_.pickle)[at] = static_cast<char>((*good_.pickle)[at] ^ flip);
      const auto matrix = ReadBack(good_);
      EXPECT_TRUE(matrix.ok() || absl::IsInvalidArgument(matrix.status())) << matrix.status();
    }
  }
}

TEST_F(SavedTensorTest, TuplesInTuplesWithoutEndAreRefused) {
  good_.pickle = std::string("\x80\x02)", 3) + std::string(60'000, '\x85') + ".";
  ExpectRefused(good_, "malformed instruction 0x85");
}

// A pickle repeats what it has at two bytes a copy: unbounded, 64 KiB of it would cost gigabytes.
TEST_F(SavedTensorTest, PickleThatRepeatsItselfStaysSmall) {
  const auto repeat = [](const std::string& text, int n) {
    std::string all;
    for (int i = 0; i < n; ++i) all += text;
    return all;
  };
  const std::string begin = std::string("\x80\x02", 2), get("h\0", 2);
  good_.pickle = begin + repeat("K\1", 10'000) + ".";
  ExpectRefused(good_, "more than 64 values on the stack at byte 130");
  good_.pickle = begin + SavedTensorBuilder::String("cpu") + std::string("q\0", 2) + repeat(get, 20'000) + ".";
  ExpectRefused(good_, "more than 64 values on the stack");
  good_.pickle = begin + SavedTensorBuilder::String(std::string(257, 'a')) + ".";
  ExpectRefused(good_, "a string of 257 bytes at byte 2; at most 256");
  good_.pickle = begin + ")";
  for (int i = 0; i < 257; ++i) *good_.pickle += std::string("r") + char(i) + char(i >> 8) + std::string(2, '\0');
  ExpectRefused(good_, "more than 256 values in the memo");
}

TEST_F(SavedTensorTest, MoreThanEightDimensionsAreRefused) {
  good_.sizes.assign(9, 1);
  good_.strides.assign(9, 1);
  ExpectRefused(good_, "pickle: malformed instruction");
}

TEST_F(SavedTensorTest, BigEndianIsRefused) {
  good_.byte_order = "big";
  ExpectRefused(good_, "byte order");
}

TEST_F(SavedTensorTest, CompressedDataIsRefused) {
  good_.compressed = true;
  good_.storage.assign(100'000, 0.f);
  ExpectRefused(good_, "compressed or too large");
}

TEST_F(SavedTensorTest, ChangedDataIsRefused) {
  good_.Write(path_);
  std::string bytes = ReadAll(path_);
  const std::string six("\0\0\xc0\x40", 4);
  const size_t at = bytes.find(six);
  ASSERT_NE(at, std::string::npos);
  bytes[at] ^= 1;
  WriteAll(path_, bytes);
  const absl::Status status = ReadSavedMatrix(path_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("archive/data/0 is damaged"));
}

TEST_F(SavedTensorTest, FileCutAnywhereIsRefused) {
  good_.Write(path_);
  const std::string bytes = ReadAll(path_);
  for (size_t size = 0; size < bytes.size(); size += 3) {
    WriteAll(path_, std::string_view(bytes).substr(0, size));
    EXPECT_EQ(ReadSavedMatrix(path_).status().code(), absl::StatusCode::kInvalidArgument) << size;
  }
}

TEST_F(SavedTensorTest, MissingFileIsNotFound) {
  EXPECT_EQ(ReadSavedMatrix(path_).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace mtm
