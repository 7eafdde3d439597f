// SPDX-License-Identifier: Apache-2.0
#include "memory_store/search.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <span>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "memory_store/half.h"

namespace mtm {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// All distances from the differences, all sorted: what the search must equal.
std::vector<Neighbour> BruteForce(const std::vector<float>& keys, int dim, const std::vector<float>& queries,
                                  size_t k) {
  const auto d = static_cast<size_t>(dim);
  std::vector<Neighbour> result;
  for (size_t q = 0; q < queries.size() / d; ++q) {
    std::vector<Neighbour> all;
    for (size_t i = 0; i < keys.size() / d; ++i) {
      double sum = 0;
      for (size_t j = 0; j < d; ++j) sum += std::pow(double{queries[q * d + j]} - keys[i * d + j], 2);
      all.push_back({.position = static_cast<int64_t>(i), .distance = static_cast<float>(sum)});
    }
    std::stable_sort(all.begin(), all.end(), [](auto a, auto b) { return a.distance < b.distance; });
    all.resize(std::min(all.size(), k));
    result.insert(result.end(), all.begin(), all.end());
  }
  return result;
}

StoredRows Rows(const std::vector<float>& keys, int dim) {
  return {.dtype = DataType::kF32,
          .data = reinterpret_cast<const std::byte*>(keys.data()),
          .n = static_cast<int64_t>(keys.size()) / dim,
          .head_dim = dim};
}

std::vector<Neighbour> NearestKeys(const std::vector<float>& keys, int dim, const std::vector<float>& queries,
                                   int k) {
  return NearestKeys(Rows(keys, dim), queries, k);
}

// The numbers as halves; `numbers` become what the halves are.
std::vector<uint16_t> ToHalves(std::vector<float>& numbers) {
  std::vector<uint16_t> halves(numbers.size());
  FloatToHalf(numbers, halves);
  HalfToFloat(halves, numbers);
  return halves;
}

StoredRows Rows(const std::vector<uint16_t>& keys, int dim) {
  return {.dtype = DataType::kF16,
          .data = reinterpret_cast<const std::byte*>(keys.data()),
          .n = static_cast<int64_t>(keys.size()) / dim,
          .head_dim = dim};
}

std::vector<float> Normal(uint32_t seed, size_t n, float offset = 0, float scale = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(offset, scale);
  std::vector<float> numbers(n);
  for (float& x : numbers) x = normal(random);
  return numbers;
}

TEST(SearchTest, EqualsBruteForceWhateverTheNumberOfQueriesAndNeighbours) {
  for (const int dim : {1, 3, 64}) {
    for (const size_t n_keys : {1u, 7u, 300u}) {
      const std::vector<float> keys = Normal(1, n_keys * static_cast<size_t>(dim));
      for (const size_t n_queries : {1u, 19u, 20u, 70u}) {
        const std::vector<float> queries = Normal(2, n_queries * static_cast<size_t>(dim));
        for (const int k : {1, 5, 290, 299, 300, 1000}) {
          EXPECT_EQ(NearestKeys(keys, dim, queries, k),
                    BruteForce(keys, dim, queries, static_cast<size_t>(k)))
              << "dim " << dim << ", keys " << n_keys << ", queries " << n_queries << ", k " << k;
        }
      }
    }
  }
}

// |x|^2 + |y|^2 - 2xy loses everything in float32 here, the differences nothing.
TEST(SearchTest, EqualsBruteForceWhereKeysShareALargeOffset) {
  for (const float offset : {10.f, 300.f, 10'000.f}) {
    const std::vector<float> keys = Normal(3, 2000 * 64, offset, 0.5f);
    const std::vector<float> queries = Normal(4, 32 * 64, offset, 0.5f);
    EXPECT_EQ(NearestKeys(keys, 64, queries, 5), BruteForce(keys, 64, queries, 5)) << offset;
    const std::vector<float> one(queries.begin(), queries.begin() + 64);
    EXPECT_EQ(NearestKeys(keys, 64, one, 5), BruteForce(keys, 64, one, 5)) << offset;
  }
}

TEST(SearchTest, TiesGoToTheLowerPositionEvenWhenThereAreMoreThanCandidates) {
  // Five different keys, each 200 times: the nearest one alone fills every list of candidates.
  const std::vector<float> distinct = Normal(5, 5 * 64);
  std::vector<float> keys;
  for (int copy = 0; copy < 200; ++copy) keys.insert(keys.end(), distinct.begin(), distinct.end());
  for (const size_t n_queries : {1u, 40u}) {
    const std::vector<float> queries = Normal(6, n_queries * 64);
    for (const int k : {1, 5, 250}) {
      EXPECT_EQ(NearestKeys(keys, 64, queries, k), BruteForce(keys, 64, queries, static_cast<size_t>(k)));
    }
  }
}

TEST(SearchTest, StoredKeyIsItsOwnNearestAtDistanceZero) {
  const std::vector<float> keys = Normal(7, 1000 * 64, 5);
  const std::vector<Neighbour> all = NearestKeys(keys, 64, keys, 1);
  for (size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(all[i], (Neighbour{.position = static_cast<int64_t>(i), .distance = 0}));
  }
}

TEST(SearchTest, NoQueriesGiveNoNeighbours) { EXPECT_THAT(NearestKeys(Normal(8, 64), 64, {}, 3), IsEmpty()); }

TEST(SearchTest, DistancesThatAreNoNumberComeLastByPosition) {
  const std::vector<float> keys = {NAN, 2, -kInfinity, 1, NAN};
  for (const size_t n_queries : {1u, 30u}) {
    const std::vector<float> queries(n_queries, 0.f);
    const std::vector<Neighbour> found = NearestKeys(keys, 1, queries, 4);
    ASSERT_EQ(found.size(), 4 * n_queries);
    EXPECT_THAT(
        std::vector(found.begin(), found.begin() + 4),
        ElementsAre(Neighbour{3, 1.f}, Neighbour{1, 4.f}, Neighbour{0, kInfinity}, Neighbour{2, kInfinity}));
  }
  const std::vector<float> nan_query = {NAN};
  EXPECT_THAT(NearestKeys(keys, 1, nan_query, 2),
              ElementsAre(Neighbour{0, kInfinity}, Neighbour{1, kInfinity}));
}

// More keys than a block of converted rows has: 4096 of 64 numbers.
TEST(SearchTest, HalvesEqualBruteForceOverWhatTheyStandFor) {
  for (const int dim : {1, 3, 64}) {
    for (const size_t n_keys : {1u, 7u, 300u, 9000u}) {
      std::vector<float> keys = Normal(11, n_keys * static_cast<size_t>(dim));
      const std::vector<uint16_t> halves = ToHalves(keys);
      for (const size_t n_queries : {1u, 19u, 20u}) {
        const std::vector<float> queries = Normal(12, n_queries * static_cast<size_t>(dim));
        for (const int k : {1, 5, 290, 300}) {
          EXPECT_EQ(NearestKeys(Rows(halves, dim), queries, k),
                    BruteForce(keys, dim, queries, static_cast<size_t>(k)))
              << "dim " << dim << ", keys " << n_keys << ", queries " << n_queries << ", k " << k;
        }
      }
    }
  }
}

TEST(SearchTest, HalvesThatTieGoToTheLowerPositionAcrossBlocks) {
  std::vector<float> distinct = Normal(13, 3 * 64);
  std::vector<float> keys;
  for (int copy = 0; copy < 3000; ++copy) keys.insert(keys.end(), distinct.begin(), distinct.end());
  const std::vector<uint16_t> halves = ToHalves(keys);
  for (const size_t n_queries : {1u, 21u}) {
    const std::vector<float> queries = Normal(14, n_queries * 64, 1.f);
    EXPECT_EQ(NearestKeys(Rows(halves, 64), queries, 7), BruteForce(keys, 64, queries, 7));
  }
}

TEST(SearchTest, HalvesWithALargeOffsetEqualBruteForce) {
  std::vector<float> keys = Normal(15, 9000 * 64, 300.f, 0.5f);
  const std::vector<uint16_t> halves = ToHalves(keys);
  for (const size_t n_queries : {1u, 21u}) {
    const std::vector<float> queries = Normal(16, n_queries * 64, 300.f, 0.5f);
    EXPECT_EQ(NearestKeys(Rows(halves, 64), queries, 5), BruteForce(keys, 64, queries, 5));
  }
}

TEST(SearchTest, EachQueryGetsAloneWhatItGetsAmongOthers) {
  std::vector<float> keys = Normal(17, 6000 * 64, 2.f);
  const std::vector<uint16_t> halves = ToHalves(keys);
  const std::vector<float> queries = Normal(18, 40 * 64, 2.f);
  for (const StoredRows& rows : {Rows(keys, 64), Rows(halves, 64)}) {
    const std::vector<Neighbour> together = NearestKeys(rows, queries, 5);
    for (size_t q = 0; q < 40; ++q) {
      const std::vector<Neighbour> alone = NearestKeys(rows, std::span(queries).subspan(q * 64, 64), 5);
      EXPECT_TRUE(
          std::equal(alone.begin(), alone.end(), together.begin() + static_cast<std::ptrdiff_t>(q * 5)))
          << q;
    }
  }
}

// Every third row, in falling order: the nearest among them, by position.
TEST(SearchTest, NearestAmongSomeRowsEqualBruteForceOverThem) {
  for (const int dim : {1, 7, 16, 64, 100}) {
    const auto d = static_cast<size_t>(dim);
    for (const size_t n_keys : {1u, 40u, 3000u}) {
      for (const float offset : {0.f, 300.f}) {
        std::vector<float> keys = Normal(19, n_keys * d, offset);
        if (dim == 1) std::ranges::for_each(keys, [](float& x) { x = std::round(x); });  // ties
        const std::vector<uint16_t> halves = ToHalves(keys);
        std::vector<uint32_t> rows;
        std::vector<float> chosen;
        for (size_t i = 0; i < n_keys; i += 3) {
          rows.insert(rows.begin(), static_cast<uint32_t>(i));
          chosen.insert(chosen.end(), &keys[i * d], &keys[i * d] + d);
        }
        const std::vector<float> query = Normal(20, d, offset);
        for (const size_t k : {1u, 5u, 2000u}) {
          std::vector<Neighbour> expected = BruteForce(chosen, dim, query, k);
          for (Neighbour& neighbour : expected) neighbour.position *= 3;
          EXPECT_EQ(NearestAmong(Rows(keys, dim), rows, query, static_cast<int>(k)), expected)
              << dim << " " << n_keys;
          EXPECT_EQ(NearestAmong(Rows(halves, dim), rows, query, static_cast<int>(k)), expected)
              << dim << " " << n_keys;
        }
      }
    }
  }
}

TEST(SearchTest, DistancesAmongSomeRowsThatAreNoNumberComeLast) {
  const std::vector<float> keys = {NAN, 2, -kInfinity, 1, NAN};
  const std::vector<uint32_t> rows = {4, 3, 2, 0};
  const std::vector<float> query = {0};
  EXPECT_THAT(NearestAmong(Rows(keys, 1), rows, query, 3),
              ElementsAre(Neighbour{3, 1.f}, Neighbour{0, kInfinity}, Neighbour{2, kInfinity}));
}

}  // namespace
}  // namespace mtm
