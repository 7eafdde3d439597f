// SPDX-License-Identifier: Apache-2.0
#include "memory_store/memory.h"

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "memory_store/segment_index.h"
#include "tests/memory_store/test_memory.h"
#include "tests/model/random_seed.h"

namespace mtm {
namespace {

class MemoryTest : public testing::TestWithParam<DataType> {
 protected:
  // The memory in segments that begin at these tokens, each in windows of 3.
  std::shared_ptr<const Memory> InSegments(const TestMemory& memory,
                                           const std::vector<size_t>& begins) const {
    std::vector<std::shared_ptr<const Segment>> segments;
    for (size_t i = 0; i < begins.size(); ++i) {
      const size_t end = i + 1 < begins.size() ? begins[i + 1] : memory.tokens.size();
      const auto segment = memory.Part(begins[i], end - begins[i]).LoadSegment(folder_);
      EXPECT_TRUE(segment.ok()) << segment.status();
      segments.push_back(*segment);
    }
    return MemoryOf(std::move(segments));
  }

  const std::filesystem::path folder_ = FreshPath();
};

TEST_P(MemoryTest, RowsAndTokensAreReadAcrossSegments) {
  const TestMemory cats(1, 20, GetParam());
  const auto memory = InSegments(cats, {0, 6, 7, 15});
  EXPECT_TRUE(cats.IsIn(*memory));
  EXPECT_EQ(memory->n_tokens(), 20);
  EXPECT_EQ(memory->windows().size(), 2u + 1 + 3 + 2);
  for (int64_t i = 0; i < 20; ++i) EXPECT_EQ(memory->token(i), cats.tokens[static_cast<size_t>(i)]);
  for (size_t first = 0; first < 20; ++first) {
    for (size_t n = 0; n <= 20 - first; ++n) {
      std::vector<float> keys(n * 4), values(n * 4);
      memory->CopyRows(5, 1, static_cast<int64_t>(first), keys, values);
      EXPECT_TRUE(std::equal(keys.begin(), keys.end(),
                             cats.keys[4].begin() + static_cast<std::ptrdiff_t>(first * 4)));
      EXPECT_TRUE(std::equal(values.begin(), values.end(),
                             cats.values[4].begin() + static_cast<std::ptrdiff_t>(first * 4)));
    }
  }
  const std::vector<Neighbour> some = {{19, 0.f}, {0, 0.f}, {6, 0.f}, {6, 0.f}};
  std::vector<float> keys(16), values(16);
  memory->Gather(2, 2, some, keys, values);
  for (size_t i = 0; i < 16; ++i) {
    const auto at = static_cast<size_t>(some[i / 4].position) * 4 + i % 4;
    EXPECT_EQ(keys[i], cats.keys[2][at]);
    EXPECT_EQ(values[i], cats.values[2][at]);
  }
}

TEST_P(MemoryTest, KnowsItsLayers) {
  const auto memory = InSegments(TestMemory(1, 4, GetParam()), {0});
  for (const int layer : {0, 1, 3, 4, 6, -2}) EXPECT_FALSE(memory->has_layer(layer)) << layer;
  EXPECT_TRUE(memory->has_layer(2));
  EXPECT_TRUE(memory->has_layer(5));
  EXPECT_FALSE(memory->is_approximate());
}

// Ties too: one key in three stands there several times.
TEST_P(MemoryTest, SearchDependsNeitherOnSegmentsNorOnOtherQueries) {
  std::mt19937 random(static_cast<uint32_t>(RandomSeed(1)));
  TestMemory cats(2, 400, GetParam());
  for (std::vector<float>& keys : cats.keys) {
    for (size_t row = 0; row < 400; row += 3) std::copy_n(&keys[random() % 40 * 4], 4, &keys[row * 4]);
  }
  std::vector<float> queries(25 * 4);
  std::normal_distribution<float> normal;
  for (float& x : queries) x = normal(random);
  const auto whole = InSegments(cats, {0});
  const auto parts = InSegments(cats, {0, 1, 4, 100, 101, 380});
  for (const int k : {1, 5, 30, 399, 400, 1000}) {
    const auto n = static_cast<size_t>(std::min(k, 400));
    const std::vector<Neighbour> expected = whole->Search(5, 2, queries, k);
    ASSERT_EQ(expected.size(), 25 * n);
    EXPECT_EQ(parts->Search(5, 2, queries, k), expected) << k;
    for (size_t q = 0; q < 25; ++q) {
      const std::vector<Neighbour> alone = parts->Search(5, 2, std::span(queries).subspan(q * 4, 4), k);
      EXPECT_TRUE(
          std::equal(alone.begin(), alone.end(), expected.begin() + static_cast<std::ptrdiff_t>(q * n)));
    }
  }
  EXPECT_TRUE(whole->Search(5, 2, {}, 5).empty());
  EXPECT_TRUE(parts->Search(5, 2, {}, 5).empty());
}

// One that probes all its lists misses next to nothing, and one of other keys much.
TEST_P(MemoryTest, SegmentWithAnIndexIsSearchedByIt) {
  const TestMemory cats(3, 900, GetParam());
  const auto exact = InSegments(cats, {0, 300});
  const auto with_index_of = [&](const Memory& memory) {
    const auto built = BuiltIndex(FreshPath("new.idx"), *memory.segments()[1], {.recall_target = 2});
    return MemoryOf({exact->segments()[0], exact->segments()[1]->WithIndex(built)});
  };
  const auto complete = with_index_of(*exact);
  const auto poor = with_index_of(*InSegments(TestMemory(4, 900, GetParam()), {0, 300}));
  EXPECT_TRUE(poor->is_approximate());
  EXPECT_EQ(poor->segments()[1]->n_tokens(), 600);
  const std::vector<float> queries(cats.keys[0].begin(), cats.keys[0].begin() + 30 * 4);
  EXPECT_EQ(complete->Search(2, 0, queries, 5), exact->Search(2, 0, queries, 5));
  EXPECT_NE(poor->Search(2, 0, queries, 5), exact->Search(2, 0, queries, 5));
  EXPECT_EQ(poor->Search(2, 0, queries, 5).size(), 30u * 5);
  EXPECT_EQ(poor->Search(2, 0, queries, 890), exact->Search(2, 0, queries, 890));
  const std::vector<Neighbour> together = poor->Search(2, 0, queries, 5);
  for (size_t q = 0; q < 30; ++q) {
    const std::vector<Neighbour> alone = poor->Search(2, 0, std::span(queries).subspan(q * 4, 4), 5);
    EXPECT_TRUE(
        std::equal(alone.begin(), alone.end(), together.begin() + static_cast<std::ptrdiff_t>(q * 5)));
  }
}

INSTANTIATE_TEST_SUITE_P(DataTypes, MemoryTest, testing::Values(DataType::kF32, DataType::kF16),
                         NameOfDataType);

}  // namespace
}  // namespace mtm
