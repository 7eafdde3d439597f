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

// One query's tables, sums and bits.
struct Summed {
  explicit Summed(size_t dim, size_t n_blocks)
      : tables(dim * kLevels), sums(n_blocks * kRowsPerBlock), below(n_blocks) {}

  std::vector<uint8_t> tables, sums;
  std::vector<uint32_t> below;
};

TEST(CodeSumsTest, SumsAreThoseOfTheTablesAndSaturateHoweverManyAreSummedTogether) {
  constexpr size_t kBlocks = 3;
  std::mt19937 random(2);
  for (const size_t dim : {1u, 2u, 3u, 4u, 63u, 64u}) {
    for (const uint32_t largest : {3u, 255u}) {
      std::vector<uint8_t> codes(kBlocks * dim * kBytesPerBlock);
      for (uint8_t& x : codes) x = static_cast<uint8_t>(random());
      for (const Isa isa : Isas()) {
        for (size_t n_queries = 0; n_queries <= 2 * kQueriesTogether + 1; ++n_queries) {
          std::vector<Summed> queries(n_queries, Summed(dim, kBlocks));
          std::vector<CodeSums> sums;
          for (Summed& query : queries) {
            for (uint8_t& x : query.tables) x = static_cast<uint8_t>(random() % (largest + 1));
            sums.push_back({query.tables.data(), query.sums.data(), query.below.data()});
          }
          SumCodes(codes.data(), kBlocks, dim, sums, isa);
          for (const Summed& query : queries) {
            for (size_t row = 0; row < query.sums.size(); ++row) {
              const size_t block = row / kRowsPerBlock, in_block = row % kRowsPerBlock;
              int expected = 0;
              for (size_t i = 0; i < dim; ++i) {
                const uint8_t byte = codes[(block * dim + i) * kBytesPerBlock + in_block % kBytesPerBlock];
                expected += query.tables[i * kLevels + (in_block < kBytesPerBlock ? byte & 15 : byte >> 4)];
              }
              ASSERT_EQ(query.sums[row], std::min(expected, 255)) << dim << " " << row;
              ASSERT_EQ(query.below[block] >> in_block & 1, expected < 255 ? 1u : 0u) << dim << " " << row;
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace mtm
