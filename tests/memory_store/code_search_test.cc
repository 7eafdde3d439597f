// SPDX-License-Identifier: Apache-2.0
#include "memory_store/code_search.h"

#include <algorithm>
#include <cstdint>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "memory_store/code_sums.h"

namespace mtm {
namespace {

constexpr size_t kDim = 64, kRows = 96, kWanted = 58;

// The first list's keys are all its centroid, nearly; the second's are far away. In units of what distances
// in the first list may be, each number of the query is less than half a unit away from those keys, and all
// together several.
TEST(CodeSearchTest, RowsOfAClumpAreFoundThoughEachOfTheirNumbersIsRoundedAway) {
  std::vector<float> centroids(2 * kDim, 0), scales(kDim, 1);
  std::fill(centroids.begin() + kDim, centroids.end(), 100.f);
  const std::vector<uint32_t> list_begins = {0, kRows, 2 * kRows};
  std::vector<uint32_t> rows(2 * kRows);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<uint32_t>(i);
  constexpr uint8_t kNearestToNothing = 0x88;  // of two rows
  const std::vector<uint8_t> codes(2 * kRows / kRowsPerBlock * kDim * kBytesPerBlock, kNearestToNothing);
  const InvertedFile file{centroids, list_begins, rows, scales, codes};
  for (const float distance : {0.f, 0.3f, 0.7f, 1.f, 5.f}) {
    const std::vector<std::vector<uint32_t>> lists = {{0, 1}};
    const auto found = NearestByCodes(file, lists, std::vector<float>(kDim, distance), kWanted);
    EXPECT_EQ(std::set<uint32_t>(found[0].begin(), found[0].end()).size(), kWanted) << distance;
    for (const uint32_t row : found[0]) EXPECT_LT(row, kRows) << distance;
  }
}

}  // namespace
}  // namespace mtm
