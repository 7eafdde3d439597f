// SPDX-License-Identifier: Apache-2.0
#include "memory_store/reference_reader.h"

#include <cstdlib>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "memory_store/search.h"
#include "tests/memory_store/saved_tensor_builder.h"
#include "tests/memory_store/test_memory.h"

namespace mtm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// A memory as the Python implementation writes it: 2 layers, 3 heads, the sentinel and 2 rows of 2 numbers.
class ReferenceReaderTest : public testing::Test {
 protected:
  ReferenceReaderTest() {
    for (int layer = 0; layer < 2; ++layer) {
      for (int head = 0; head < 3; ++head) {
        const auto x = static_cast<float>(10 * layer + head);
        WriteMatrix(File("keyStore", layer, head), 3, 2, {-kInfinity, -kInfinity, x, 1, x, 2});
        WriteMatrix(File("valueStore", layer, head), 3, 2, {0, 0, x, 3, x, 4});
      }
    }
    WriteAll(folder_ / "cat_memory.txt", "Cats are amazing");
  }

  std::filesystem::path File(const std::string& store, int layer, int head) const {
    return folder_ / store / std::to_string(layer) / absl::StrCat(head, ".pt");
  }

  static void WriteMatrix(const std::filesystem::path& path, int64_t n_rows, int64_t n_columns,
                          std::vector<float> rows) {
    SavedTensorBuilder::Rows(n_rows, n_columns, std::move(rows)).Write(path);
  }

  void ExpectRefused(absl::StatusCode code, const std::string& path, const std::string& reason) const {
    const absl::Status status = ReadReferenceMemory(folder_).status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(path));
    EXPECT_THAT(std::string(status.message()), HasSubstr(reason));
  }

  const std::filesystem::path folder_ = FreshPath("cat_memory");
};

TEST_F(ReferenceReaderTest, MemoryIsReadWithoutItsSentinel) {
  const auto memory = ReadReferenceMemory(folder_);
  ASSERT_TRUE(memory.ok()) << memory.status();
  EXPECT_EQ(memory->text, "Cats are amazing");
  EXPECT_EQ(memory->n_layer, 2);
  EXPECT_EQ(memory->n_head, 3);
  EXPECT_EQ(memory->head_dim, 2);
  EXPECT_EQ(memory->n_tokens, 2);
  EXPECT_THAT(memory->keys(1, 0), ElementsAre(0, 1, 0, 2));
  EXPECT_THAT(memory->keys(2, 1), ElementsAre(11, 1, 11, 2));
  EXPECT_THAT(memory->values(2, 2), ElementsAre(12, 3, 12, 4));
}

TEST_F(ReferenceReaderTest, TextIsTheFileNamedAsTheFolder) {
  WriteAll(folder_ / "notes.txt", "something else");
  EXPECT_EQ(ReadReferenceMemory(folder_)->text, "Cats are amazing");
  std::filesystem::rename(folder_ / "cat_memory.txt", folder_ / "other.txt");
  ExpectRefused(absl::StatusCode::kInvalidArgument, folder_, "which of its 2 .txt files");
  std::filesystem::remove(folder_ / "notes.txt");
  EXPECT_EQ(ReadReferenceMemory(folder_)->text, "Cats are amazing");
  std::filesystem::remove(folder_ / "other.txt");
  ExpectRefused(absl::StatusCode::kNotFound, folder_, "no NAME.txt");
}

TEST_F(ReferenceReaderTest, FirstRowThatIsNoSentinelIsRefused) {
  WriteMatrix(File("keyStore", 1, 2), 3, 2, {-kInfinity, 0, 1, 1, 1, 1});
  ExpectRefused(absl::StatusCode::kInvalidArgument, File("keyStore", 1, 2), "is not the sentinel, all -inf");
  WriteMatrix(File("keyStore", 1, 2), 3, 2, {-kInfinity, -kInfinity, 1, 1, 1, 1});
  WriteMatrix(File("valueStore", 0, 2), 3, 2, {0, 1, 1, 1, 1, 1});
  ExpectRefused(absl::StatusCode::kInvalidArgument, File("valueStore", 0, 2), "is not the sentinel, all 0");
}

TEST_F(ReferenceReaderTest, NumbersThatAreNotFiniteAreRefused) {
  WriteMatrix(File("keyStore", 0, 1), 3, 2, {-kInfinity, -kInfinity, 1, 1, 1, -kInfinity});
  ExpectRefused(absl::StatusCode::kInvalidArgument, File("keyStore", 0, 1), "not finite");
}

TEST_F(ReferenceReaderTest, ShapesThatDisagreeAreRefused) {
  WriteMatrix(File("valueStore", 1, 0), 2, 2, {0, 0, 1, 1});
  ExpectRefused(absl::StatusCode::kInvalidArgument, File("valueStore", 1, 0),
                "1 rows of 2 numbers where the first file has 2 of 2");
}

TEST_F(ReferenceReaderTest, SentinelAloneIsRefused) {
  WriteMatrix(File("keyStore", 0, 0), 1, 2, {-kInfinity, -kInfinity});
  ExpectRefused(absl::StatusCode::kInvalidArgument, File("keyStore", 0, 0), "no row but the sentinel");
}

TEST_F(ReferenceReaderTest, MissingHeadOrLayerIsRefused) {
  std::filesystem::remove(File("valueStore", 1, 2));
  ExpectRefused(absl::StatusCode::kInvalidArgument, "valueStore/1", "2 heads instead of 3");
  std::filesystem::remove_all(folder_ / "valueStore" / "1");
  ExpectRefused(absl::StatusCode::kInvalidArgument, "valueStore/1", "0 heads instead of 3");
  std::filesystem::remove_all(folder_ / "keyStore" / "1");
  EXPECT_TRUE(ReadReferenceMemory(folder_).ok());
  std::filesystem::remove_all(folder_ / "keyStore");
  ExpectRefused(absl::StatusCode::kNotFound, "keyStore/0/0.pt", "no such file");
}

TEST_F(ReferenceReaderTest, MissingFolderIsNotFound) {
  EXPECT_EQ(ReadReferenceMemory(folder_ / "nowhere").status().code(), absl::StatusCode::kNotFound);
}

TEST(AuthorsMemoryTest, HasNinetyRowsInTwelveLayersOfTwelveHeads) {
  const char* const given = std::getenv("MTM_REFERENCE_DIR");
  const std::filesystem::path root = given != nullptr ? given : MTM_REFERENCE_DIR;
  const std::filesystem::path folder = root / "positive_cat_init_token_gpt2_memstore";
  if (!std::filesystem::exists(folder)) {
    GTEST_SKIP() << "the author's memory is not at " << folder << "; MTM_REFERENCE_DIR says where it is";
  }
  const auto memory = ReadReferenceMemory(folder);
  ASSERT_TRUE(memory.ok()) << memory.status();
  EXPECT_EQ(memory->n_layer, 12);
  EXPECT_EQ(memory->n_head, 12);
  EXPECT_EQ(memory->head_dim, 64);
  EXPECT_EQ(memory->n_tokens, 90);
  EXPECT_EQ(memory->text.substr(0, 8), "Cats are");
  // Real keys of every layer, with the offsets that they have: each is its own nearest.
  for (int layer = 1; layer <= 12; ++layer) {
    const std::span<const float> keys = memory->keys(layer, 3);
    const StoredRows rows{
        .dtype = DataType::kF32, .data = std::as_bytes(keys).data(), .n = memory->n_tokens, .head_dim = 64};
    const std::vector<Neighbour> nearest = NearestKeys(rows, keys, 1);
    for (size_t i = 0; i < nearest.size(); ++i) {
      EXPECT_EQ(nearest[i], (Neighbour{.position = static_cast<int64_t>(i), .distance = 0})) << layer;
    }
  }
}

}  // namespace
}  // namespace mtm
