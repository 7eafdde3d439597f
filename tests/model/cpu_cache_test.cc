// SPDX-License-Identifier: Apache-2.0
#include "server/model/cpu_cache.h"

#include <ATen/Functions.h>

#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"

namespace mtm {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Infinity in one row would make what attends to others no number.
TEST(CpuCacheTest, HalvesHoldTheLargestOfThemForWhatIsBeyond) {
  const at::Tensor halves = at::empty({2, 3, 8}, at::kHalf);
  const CpuCache cache(halves);
  const std::vector<float> row = {1, 65504, 65519, 65520, 1e30f, -1e6f, kInfinity, -kInfinity};
  std::vector<float> read(8);
  cache.Write(1, 2, row.data());
  cache.Read(1, 2, read.data());
  EXPECT_EQ(read, (std::vector<float>{1, 65504, 65504, 65504, 65504, -65504, 65504, -65504}));
  const std::vector<float> numbers(8, NAN);
  cache.Write(0, 0, numbers.data());
  cache.Read(0, 0, read.data());
  for (const float number : read) EXPECT_TRUE(std::isnan(number));
}

TEST(CpuCacheTest, RowsGoWhereTheyBelongAndFloatsStayThemselves) {
  const at::Tensor to = at::zeros({2, 3, 4}, at::kFloat);
  const CpuCache cache(to);
  const at::Tensor rows = at::arange(16, at::kFloat).view({2, 2, 4});
  cache.WriteRows(1, rows);
  EXPECT_TRUE(at::equal(to.narrow(1, 1, 2), rows));
  EXPECT_TRUE(at::equal(to.narrow(1, 0, 1), at::zeros({2, 1, 4})));
  const std::vector<float> large = {1e30f, -kInfinity, 0, 1};
  std::vector<float> read(4);
  cache.Write(1, 0, large.data());
  cache.Read(1, 0, read.data());
  EXPECT_EQ(read, large);
}

}  // namespace
}  // namespace mtm
