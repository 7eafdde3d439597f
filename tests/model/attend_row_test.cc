// SPDX-License-Identifier: Apache-2.0
// Each set of instructions that this processor has, against the equation in double.
#include "server/model/attend_row.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <utility>
#include <vector>

#include "memory_store/half.h"
#include "server/model/exp.h"
#include "tests/support/isas.h"

namespace mtm {
namespace {

std::vector<float> Random(size_t n, float scale, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> numbers(n);
  for (float& x : numbers) x = normal(random);
  return numbers;
}

// Keys or values of either type, which the floats are rounded to.
struct Cached {
  Cached(std::vector<float> numbers, DataType kept_as)
      : floats(std::move(numbers)), halves(floats.size()), type(kept_as) {
    if (type == DataType::kF32) return;
    FloatToHalf(floats, halves);
    HalfToFloat(halves, floats);
  }
  CachedRows rows() const {
    return {type == DataType::kF16 ? static_cast<const void*>(halves.data()) : floats.data(), type};
  }

  std::vector<float> floats;
  std::vector<uint16_t> halves;
  DataType type;
};

constexpr DataType kTypes[] = {DataType::kF32, DataType::kF16};

std::vector<double> Expected(const std::vector<float>& query, const std::vector<float>& keys,
                             const std::vector<float>& values, size_t n) {
  const size_t dim = query.size();
  std::vector<double> scores(n), out(dim);
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < dim; ++j) scores[i] += double{query[j]} * keys[i * dim + j];
    scores[i] /= std::sqrt(static_cast<double>(dim));
  }
  const double largest = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (double& score : scores) sum += score = std::exp(score - largest);
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < dim; ++j) out[j] += scores[i] / sum * values[i * dim + j];
  }
  return out;
}

TEST(AttendRowTest, IsTheEquation) {
  for (const Isa isa : Isas()) {
    for (const size_t dim : {1u, 5u, 16u, 24u, 64u, 100u, 128u}) {
      for (const size_t n : {1u, 2u, 15u, 16u, 33u, 700u}) {
        for (const float sharp : {0.1f, 3.f, 100.f}) {
          for (const DataType type : kTypes) {
            const std::vector<float> query = Random(dim, sharp, 1);
            const Cached keys(Random(n * dim, 1, 2), type), values(Random(n * dim, 1, 3), type);
            std::vector<float> scores(n), out(dim, NAN);
            RowAttention(query, keys.rows(), scores, isa);
            AttendValues(scores, values.rows(), out, isa);
            const std::vector<double> expected = Expected(query, keys.floats, values.floats, n);
            for (size_t j = 0; j < dim; ++j) {
              // A score is off by its size times a float's unit, and so is its weight.
              ASSERT_NEAR(out[j], expected[j], 2e-6 * (1 + 10 * sharp))
                  << dim << " " << n << " " << sharp << " " << int(isa) << " " << NameOf(type);
            }
          }
        }
      }
    }
  }
}

TEST(AttendRowTest, RowsTogetherHaveTheBitsOfEachAlone) {
  for (const Isa isa : Isas()) {
    for (const size_t dim : {5u, 24u, 64u}) {
      for (const size_t first : {0u, 1u, 50u, 63u, 64u, 300u}) {
        for (const size_t n : {1u, 3u, 16u}) {
          for (const DataType type : kTypes) {
            const size_t n_keys = first + n, stride = 3 * dim;
            const std::vector<float> queries = Random(n * stride, 1, 1);
            const Cached keys(Random(n_keys * dim, 1, 2), type), values(Random(n_keys * dim, 1, 3), type);
            std::vector<float> scratch(n * n_keys, NAN), out(n * stride, NAN);
            AttendRows({.first = first,
                        .n = n,
                        .dim = dim,
                        .queries = queries.data(),
                        .keys = keys.rows(),
                        .values = values.rows(),
                        .out = out.data(),
                        .query_stride = stride,
                        .out_stride = stride},
                       scratch, isa);
            for (size_t r = 0; r < n; ++r) {
              std::vector<float> attention(first + r + 1), expected(dim);
              RowAttention({&queries[r * stride], dim}, keys.rows(), attention, isa);
              AttendValues(attention, values.rows(), expected, isa);
              ASSERT_TRUE(std::equal(expected.begin(), expected.end(), &out[r * stride]))
                  << dim << " " << first << " " << n << " " << r << " " << int(isa) << " " << NameOf(type);
            }
          }
        }
      }
    }
  }
}

TEST(AttendRowTest, WhatIsNoNumberStaysNone) {
  constexpr size_t kKeys = 9, kDim = 24;
  for (const Isa isa : Isas()) {
    for (size_t key = 0; key < kKeys; ++key) {
      for (const DataType type : kTypes) {
        const std::vector<float> query(kDim, 1);
        std::vector<float> numbers(kKeys * kDim, 1), attention(kKeys), out(kDim);
        numbers[key * kDim + 3] = NAN;
        const Cached keys(numbers, type), values(std::vector<float>(kKeys * kDim, 2), type);
        RowAttention(query, keys.rows(), attention, isa);
        AttendValues(attention, values.rows(), out, isa);
        EXPECT_TRUE(std::isnan(out[0])) << key;
      }
    }
  }
}

TEST(AttendRowTest, EqualKeysHaveEqualWeights) {
  constexpr size_t kKeys = 7, kDim = 64;
  const std::vector<float> query = Random(kDim, 1, 1), key = Random(kDim, 1, 2);
  std::vector<float> keys;
  for (size_t i = 0; i < kKeys; ++i) keys.insert(keys.end(), key.begin(), key.end());
  for (const Isa isa : Isas()) {
    std::vector<float> attention(kKeys);
    RowAttention(query, {keys.data(), DataType::kF32}, attention, isa);
    EXPECT_EQ(attention, std::vector<float>(kKeys, attention[0]));
  }
}

// What underflows is selected by no memory; and subnormal numbers would be slow.
TEST(AttendRowTest, AWeightThatUnderflowsIsZero) {
  constexpr size_t kKeys = 20;
  const std::vector<float> query = {1};
  std::vector<float> keys(kKeys, -120);
  keys[3] = keys[17] = 0;
  for (const Isa isa : Isas()) {
    std::vector<float> attention(kKeys);
    RowAttention(query, {keys.data(), DataType::kF32}, attention, isa);
    for (size_t i = 0; i < kKeys; ++i) EXPECT_EQ(attention[i], i == 3 || i == 17 ? 0.5f : 0.f) << i;
  }
}

TEST(ExpTest, IsRightToTwoUnits) {
  for (float x = -87; x <= 88; x += 0.0173f) {
    const double expected = std::exp(double{x});
    EXPECT_NEAR(Exp(x), expected, 2.5e-7 * expected) << x;
  }
  EXPECT_EQ(Exp(0), 1);
  EXPECT_EQ(Exp(-87.01f), 0);
  EXPECT_EQ(Exp(-INFINITY), 0);
  EXPECT_TRUE(std::isnan(Exp(NAN)));
}

}  // namespace
}  // namespace mtm
