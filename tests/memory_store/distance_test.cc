// SPDX-License-Identifier: Apache-2.0
// Each set of instructions that this processor has, against the distance in double.
#include "memory_store/distance.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <random>
#include <vector>

#include "memory_store/half.h"
#include "tests/support/isas.h"

namespace mtm {
namespace {

struct Keys {
  std::vector<float> numbers;  // as stored
  std::vector<uint16_t> halves;
  StoredRows rows;

  Keys(size_t n, size_t dim, DataType dtype) : numbers(n * dim), halves(n * dim) {
    std::mt19937 random(static_cast<uint32_t>(dim));
    std::normal_distribution<float> normal;
    for (float& number : numbers) number = normal(random);
    FloatToHalf(numbers, halves);
    if (dtype == DataType::kF16) HalfToFloat(halves, numbers);
    rows = {.dtype = dtype,
            .data = dtype == DataType::kF16 ? reinterpret_cast<const std::byte*>(halves.data())
                                            : reinterpret_cast<const std::byte*>(numbers.data()),
            .n = static_cast<int64_t>(n),
            .head_dim = static_cast<int>(dim)};
  }
};

TEST(DistanceTest, ApproximateOnesAreWithinTheirRounding) {
  for (const DataType dtype : {DataType::kF32, DataType::kF16}) {
    for (const size_t dim : {1u, 7u, 8u, 15u, 16u, 24u, 64u, 80u, 100u}) {
      for (const size_t n : {1u, 3u, 4u, 5u, 33u}) {
        const Keys keys(n, dim, dtype);
        const std::vector<float> query(dim, 0.3f);
        std::vector<uint32_t> backwards(n);
        std::iota(backwards.rbegin(), backwards.rend(), 0u);
        for (const Isa isa : Isas()) {
          std::vector<float> in_order(n, NAN), anywhere(n, NAN);
          ApproximateDistances(keys.rows, 0, query, in_order, isa);
          ApproximateDistances(keys.rows, backwards, query, anywhere, isa);
          for (size_t i = 0; i < n; ++i) {
            const double exact = ExactDistance(query, {&keys.numbers[i * dim], dim});
            for (const float distance : {in_order[i], anywhere[n - 1 - i]}) {
              ASSERT_NEAR(distance, exact, RoundingUnit(dim) * exact)
                  << dim << " numbers, row " << i << " of " << n << ", instructions " << int(isa);
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace mtm
