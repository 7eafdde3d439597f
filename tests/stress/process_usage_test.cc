// SPDX-License-Identifier: Apache-2.0
#include "tests/stress/process_usage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <optional>

namespace mtm {
namespace {

using ::testing::HasSubstr;
using ::testing::Optional;

TEST(ProcessUsageTest, CountsWhatAProcessHolds) {
  const ProcessUsage before = ProcessUsage::Of(getpid());
  EXPECT_GT(before.resident_bytes, 100'000);
  EXPECT_GE(before.threads, 1);
  const std::ifstream file("/proc/self/status");
  EXPECT_EQ(ProcessUsage::Of(getpid()).descriptors, before.descriptors + 1);
}

TEST(GrowthTest, WhatLeaksAfterTheWarmUpIsFound) {
  std::vector<int64_t> leak;
  for (int i = 0; i < 60; ++i) leak.push_back(1000 + 10 * i);
  EXPECT_THAT(Growth("bytes", leak, 0.1, 50),
              Optional(HasSubstr("bytes grew from 1250 to 1550, above 1425")));
  EXPECT_EQ(Growth("bytes", leak, 0.2, 50), std::nullopt);
}

TEST(GrowthTest, TheWarmUpAndPeaksAreNoGrowth) {
  std::vector<int64_t> values(60, 1000);
  for (int i = 0; i < 20; ++i) values[static_cast<size_t>(i)] = 50 * i;
  values[57] = values[59] = 90'000;
  EXPECT_EQ(Growth("bytes", values, 0, 0), std::nullopt);
}

TEST(GrowthTest, FewValuesTellNothing) {
  EXPECT_THAT(Growth("bytes", std::vector<int64_t>(11, 5), 1, 1000), Optional(HasSubstr("11 times only")));
}

}  // namespace
}  // namespace mtm
