// SPDX-License-Identifier: Apache-2.0
#include "client/top/scrape.h"

#include <cmath>
#include <limits>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mtm::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

constexpr char kText[] = R"(# HELP mtm_rpcs_total Requests, \ and more.
# TYPE mtm_rpcs_total counter
mtm_rpcs_total{rpc="Generate",code="OK"} 12
mtm_rpcs_total{rpc="Generate",code="NOT_FOUND"} 3
mtm_rpcs_total{ code = "OK", rpc = "Score", } 4 1700000000000

mtm_requests_waiting 2.5e0
mtm_strange{text="a \"quoted\" \\ and\na line, {}"} NaN
mtm_wait_seconds_bucket{rpc="Generate",le="0.1"} 1
mtm_wait_seconds_bucket{rpc="Generate",le="10"} 4
mtm_wait_seconds_bucket{rpc="Generate",le="+Inf"} 4
mtm_wait_seconds_bucket{rpc="Score",le="0.1"} 1
mtm_wait_seconds_bucket{rpc="Score",le="10"} 1
mtm_wait_seconds_bucket{rpc="Score",le="+Inf"} 2
)";

Scrape Parsed(std::string_view text) {
  auto scrape = Scrape::Parse(text);
  EXPECT_TRUE(scrape.ok()) << scrape.status();
  return *std::move(scrape);
}

TEST(ScrapeTest, SumsWhatHasTheLabels) {
  const Scrape scrape = Parsed(kText);
  EXPECT_EQ(scrape.Sum("mtm_rpcs_total"), 19);
  EXPECT_EQ(scrape.Sum("mtm_rpcs_total", {{"rpc", "Generate"}}), 15);
  EXPECT_EQ(scrape.Sum("mtm_rpcs_total", {{"rpc", "Generate"}, {"code", "OK"}}), 12);
  EXPECT_EQ(scrape.Sum("mtm_rpcs_total", {{"method", "Generate"}}), 0);
  EXPECT_EQ(scrape.Sum("mtm_requests_waiting"), 2.5);
  EXPECT_EQ(scrape.Sum("no_such_metric"), 0);
  EXPECT_THAT(scrape.SumsBy("mtm_rpcs_total", "code"), ElementsAre(Pair("NOT_FOUND", 3), Pair("OK", 16)));
  EXPECT_THAT(scrape.SumsBy("mtm_rpcs_total", "code", {{"rpc", "Score"}}), ElementsAre(Pair("OK", 4)));
  EXPECT_THAT(scrape.SumsBy("mtm_requests_waiting", "code"), IsEmpty());
}

TEST(ScrapeTest, LabelsAreUnescaped) {
  EXPECT_THAT(Parsed(kText).SumsBy("mtm_strange", "text"),
              ElementsAre(Pair("a \"quoted\" \\ and\na line, {}", testing::IsNan())));
}

TEST(ScrapeTest, BucketsOfSeveralHistogramsAddUp) {
  const Scrape scrape = Parsed(kText);
  EXPECT_THAT(scrape.BucketsOf("mtm_wait_seconds"),
              ElementsAre(Pair(0.1, 2), Pair(10, 5), Pair(kInfinity, 6)));
  EXPECT_THAT(scrape.BucketsOf("mtm_wait_seconds", {{"rpc", "Score"}}),
              ElementsAre(Pair(0.1, 1), Pair(10, 1), Pair(kInfinity, 2)));
  EXPECT_THAT(scrape.BucketsOf("mtm_rpcs_total"), IsEmpty());
}

TEST(ScrapeTest, EndsOfLinesMayBeTheOtherSystems) {
  EXPECT_EQ(Parsed("a 1\r\nb 2\r\n").Sum("a"), 1);
  EXPECT_EQ(Parsed("a 1").Sum("a"), 1);
  EXPECT_EQ(Parsed("").Sum("a"), 0);
}

TEST(ScrapeTest, WhatIsNoMetricIsAnErrorThatNamesTheLine) {
  for (const char* line :
       {"<html>", "a", "a{", "a{}", "a{b}", "a{b=1} 1", "a{b=\"c} 1", "a{b=\"c\" d=\"e\"} 1", "a{b=\"\\",
        "{} 1", "1 2 {", "a one", "a{=\"c\"} 1", "a{b=\"c\"", "\xFF 1", "a{,} 1"}) {
    const auto scrape = Scrape::Parse(std::string("fine 1\n") + line);
    ASSERT_FALSE(scrape.ok()) << line;
    EXPECT_THAT(std::string(scrape.status().message()), HasSubstr("line 2")) << line;
  }
}

TEST(ScrapeTest, DamagedTextIsReadOrRefused) {
  std::mt19937 random(testing::UnitTest::GetInstance()->random_seed());
  constexpr char kBytes[] =
      "\0{}\"\\=,# \n\xFF"
      "1aeN+";
  for (int i = 0; i < 3000; ++i) {
    std::string text = kText;
    for (int n = 0; n < 1 + i % 5; ++n)
      text[random() % text.size()] = kBytes[random() % (sizeof(kBytes) - 1)];
    text.resize(random() % text.size());
    const auto scrape = Scrape::Parse(text);
    if (!scrape.ok()) continue;
    scrape->Sum("mtm_rpcs_total");
    Quantile(0.5, scrape->BucketsOf("mtm_wait_seconds"));
  }
}

TEST(QuantileTest, IsLinearWithinABucket) {
  const Buckets buckets = {{1, 10}, {2, 30}, {kInfinity, 40}};
  EXPECT_DOUBLE_EQ(Quantile(0.25, buckets), 1);
  EXPECT_DOUBLE_EQ(Quantile(0.5, buckets), 1.5);
  EXPECT_DOUBLE_EQ(Quantile(0.125, buckets), 0.5);
  EXPECT_DOUBLE_EQ(Quantile(0.95, buckets), 2);
}

TEST(QuantileTest, OfNothingIsNotANumber) {
  EXPECT_TRUE(std::isnan(Quantile(0.5, {})));
  EXPECT_TRUE(std::isnan(Quantile(0.5, {{1, 0}, {kInfinity, 0}})));
  EXPECT_TRUE(std::isnan(Quantile(0.5, {{1, NAN}, {kInfinity, NAN}})));
}

}  // namespace
}  // namespace mtm::client
