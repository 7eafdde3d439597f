// SPDX-License-Identifier: Apache-2.0
#include "tests/load/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mtm::load {
namespace {

using ::testing::HasSubstr;

TEST(ReportTest, CountsWhatCameWithinTheWindow) {
  const std::vector<Record> records = {
      {.start = 0.5, .tokens = {0.75, 1.25, 1.5}, .end = 1.5},  // began before it
      {.start = 1.0, .tokens = {1.25, 2.25}, .end = 2.5},
      {.start = 2.0, .tokens = {2.5, 3.5}, .end = 3.5},  // ended after it
      {.start = 2.5, .end = 2.75, .code = absl::StatusCode::kResourceExhausted},
      {.start = 3.0, .tokens = {3.25}, .end = 3.25}};  // began after it
  const auto summary = Summarize(records, {.begin = 1, .end = 3});
  EXPECT_EQ(summary["seconds"], 2);
  EXPECT_EQ(summary["requests"], 3);
  EXPECT_EQ(summary["requests_per_second"], 1.5);
  EXPECT_EQ(summary["tokens_per_second"], 2.5);
  EXPECT_EQ(summary["tokens_by_second"], (std::vector<int>{3, 2}));
  EXPECT_EQ(summary["codes"].dump(), R"({"OK":2,"RESOURCE_EXHAUSTED":1})");
  EXPECT_EQ(summary["time_to_first_token_seconds"]["count"], 2);
  EXPECT_EQ(summary["time_to_first_token_seconds"]["mean"], 0.375);
  EXPECT_EQ(summary["time_between_tokens_seconds"]["count"], 3);
  EXPECT_EQ(summary["time_between_tokens_seconds"]["max"], 1);
  EXPECT_EQ(summary["request_seconds"]["max"], 1.5);
  EXPECT_EQ(summary["refusal_seconds"]["count"], 1);
  EXPECT_EQ(summary["refusal_seconds"]["max"], 0.25);
}

TEST(ReportTest, PercentilesAreNearestRanks) {
  std::vector<Record> records;
  for (int i = 100; i >= 1; --i) records.push_back({.start = 0, .tokens = {i / 1024.0}, .end = 1});
  const auto times = Summarize(records, {.begin = 0, .end = 2})["time_to_first_token_seconds"];
  EXPECT_EQ(times["p50"], 50 / 1024.0);
  EXPECT_EQ(times["p90"], 90 / 1024.0);
  EXPECT_EQ(times["p99"], 99 / 1024.0);
  EXPECT_EQ(times["max"], 100 / 1024.0);
}

TEST(ReportTest, NothingAtAllIsAReportToo) {
  const auto summary = Summarize({}, {.begin = 0, .end = 1});
  EXPECT_EQ(summary["tokens_per_second"], 0);
  EXPECT_THAT(Describe(summary), HasSubstr("time to first token    -\n"));
}

}  // namespace
}  // namespace mtm::load
