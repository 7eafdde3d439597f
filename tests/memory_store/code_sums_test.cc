// SPDX-License-Identifier: Apache-2.0
// Each set of instructions that this processor has, against plain sums.
#include "memory_store/code_sums.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace mtm {
namespace {

std::vector<Isa> Isas() {
  return BestIsa() >= Isa::kAvx2 ? std::vector{Isa::kPortable, Isa::kAvx2} : std::vector{Isa::kPortable};
}

struct Query {
  std::vector<float> residual, scales;
};

Query RandomQuery(size_t dim, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Query query;
  for (size_t i = 0; i < dim; ++i) {
    query.residual.push_back(3 * normal(random));
    query.scales.push_back(std::abs(normal(random)));
  }
  return query;
}

TEST(CodeSumsTest, TablesHoldDistancesAboveTheSmallestPossibleInUnits) {
  const Query query = RandomQuery(33, 1);
  const float unit = 0.05f;
  for (const Isa isa : Isas()) {
    std::vector<uint8_t> tables(33 * kLevels);
    FillTables(query.residual, query.scales, unit, tables, isa);
    for (size_t i = 0; i < 33; ++i) {
      const double beyond =
          std::max(0.0, std::abs(double{query.residual[i]}) - kLevel.back() * query.scales[i]);
      for (size_t level = 0; level < kLevels; ++level) {
        const double difference = query.residual[i] - double{kLevel[level]} * query.scales[i];
        const double units = (difference * difference - beyond * beyond) / unit;
        EXPECT_NEAR(tables[i * kLevels + level], std::min(units, 255.0), 0.501) << i << " " << level;
      }
    }
  }
}

TEST(CodeSumsTest, NoUnitMakesEmptyTablesAndWhatIsNoNumberFullOnes) {
  const std::vector<float> scales = {1, 1, 1};
  for (const Isa isa : Isas()) {
    std::vector<uint8_t> tables(3 * kLevels, 7);
    FillTables(std::vector<float>{0, 1, 5}, scales, 0, tables, isa);
    EXPECT_EQ(tables, std::vector<uint8_t>(3 * kLevels, 0));
    FillTables(std::vector<float>{NAN, INFINITY, -INFINITY}, scales, 1, tables, isa);
    EXPECT_EQ(tables, std::vector<uint8_t>(3 * kLevels, 255));
  }
}

TEST(CodeSumsTest, SumsAreThoseOfTheTablesAndSaturate) {
  std::mt19937 random(2);
  for (const size_t dim : {1u, 2u, 3u, 4u, 63u, 64u}) {
    for (const uint32_t largest : {3u, 255u}) {
      std::vector<uint8_t> tables(dim * kLevels), codes(3 * dim * kBytesPerBlock);
      for (uint8_t& x : tables) x = static_cast<uint8_t>(random() % (largest + 1));
      for (uint8_t& x : codes) x = static_cast<uint8_t>(random());
      for (const Isa isa : Isas()) {
        std::vector<uint8_t> sums(3 * kRowsPerBlock);
        SumCodes(codes.data(), tables, sums, isa);
        for (size_t row = 0; row < sums.size(); ++row) {
          const size_t in_block = row % kRowsPerBlock;
          int expected = 0;
          for (size_t i = 0; i < dim; ++i) {
            const uint8_t byte =
                codes[(row / kRowsPerBlock * dim + i) * kBytesPerBlock + in_block % kBytesPerBlock];
            expected += tables[i * kLevels + (in_block < kBytesPerBlock ? byte & 15 : byte >> 4)];
          }
          EXPECT_EQ(sums[row], std::min(expected, 255)) << dim << " " << row;
        }
      }
    }
  }
}

}  // namespace
}  // namespace mtm
