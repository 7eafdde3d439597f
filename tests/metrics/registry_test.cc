// SPDX-License-Identifier: Apache-2.0
#include "server/metrics/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace mtm {
namespace {

using ::testing::HasSubstr;

TEST(RegistryTest, FamiliesComeInTheOrderTheyWereAdded) {
  MetricsRegistry registry;
  auto& rpcs = registry.AddCounter("rpcs_total", "Rpcs.", {"rpc", "code"});
  registry.AddCounter("tokens_total", "Tokens.").With({}).Add(41);
  rpcs.With({"Score", "OK"}).Add();
  rpcs.With({"Generate", "OK"}).Add();
  rpcs.With({"Score", "OK"}).Add(2);
  EXPECT_EQ(registry.Scrape(),
            "# HELP rpcs_total Rpcs.\n"
            "# TYPE rpcs_total counter\n"
            "rpcs_total{rpc=\"Generate\",code=\"OK\"} 1\n"
            "rpcs_total{rpc=\"Score\",code=\"OK\"} 3\n"
            "# HELP tokens_total Tokens.\n"
            "# TYPE tokens_total counter\n"
            "tokens_total 41\n");
}

TEST(RegistryTest, AMetricWithoutLabelsShowsBeforeAnythingHappened) {
  MetricsRegistry registry;
  registry.AddCounter("tokens_total", "Tokens.");
  registry.AddHistogram("wait_seconds", "Wait.", {0.1});
  EXPECT_THAT(registry.Scrape(), HasSubstr("\ntokens_total 0\n"));
  EXPECT_THAT(registry.Scrape(), HasSubstr("\nwait_seconds_count 0\n"));
}

TEST(RegistryTest, AnObservationOnABoundIsWithinIt) {
  MetricsRegistry registry;
  Histogram& histogram = registry.AddHistogram("wait_seconds", "Wait.", {0.5, 1}).With({});
  for (const double value : {0.25, 0.5, 0.75, 1.0, 1.5}) histogram.Observe(value);
  const std::string text = registry.Scrape();
  EXPECT_THAT(text, HasSubstr("wait_seconds_bucket{le=\"0.5\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("wait_seconds_bucket{le=\"1\"} 4\n"));
  EXPECT_THAT(text, HasSubstr("wait_seconds_bucket{le=\"+Inf\"} 5\n"));
  EXPECT_THAT(text, HasSubstr("wait_seconds_sum 4\n"));
}

TEST(RegistryTest, ACollectorIsAskedAtEachScrapeUntilItsHandleGoes) {
  MetricsRegistry registry;
  int scrapes = 0;
  auto handle =
      registry.AddCollector([&](Exposition& exposition) { exposition.Gauge("n", "N.", ++scrapes); });
  EXPECT_THAT(registry.Scrape(), HasSubstr("\nn 1\n"));
  EXPECT_THAT(registry.Scrape(), HasSubstr("\nn 2\n"));
  handle.reset();
  EXPECT_EQ(registry.Scrape(), "");
}

TEST(RegistryTest, AHandleMayOutliveTheRegistry) {
  auto registry = std::make_unique<MetricsRegistry>();
  auto handle = registry->AddCollector([](Exposition&) {});
  registry.reset();
  handle.reset();
}

TEST(RegistryTest, NothingIsLostBetweenThreads) {
  constexpr int kThreads = 4, kTimes = 2000;
  MetricsRegistry registry;
  auto& counts = registry.AddCounter("counts_total", "Counts.", {"kind"});
  auto& seconds = registry.AddHistogram("seconds", "Seconds.", {1, 2}, {"kind"});
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&] {
        for (int n = 0; n < kTimes; ++n) {
          counts.With({n % 2 == 0 ? "even" : "odd"}).Add();
          seconds.With({"all"}).Observe(1.5);
          if (n % 100 == 0) {
            EXPECT_THAT(registry.Scrape(), HasSubstr("seconds_bucket{kind=\"all\",le=\"1\"} 0\n"));
          }
        }
      });
    }
  }
  const std::string text = registry.Scrape();
  EXPECT_THAT(text, HasSubstr("counts_total{kind=\"even\"} 4000\n"));
  EXPECT_THAT(text, HasSubstr("counts_total{kind=\"odd\"} 4000\n"));
  EXPECT_THAT(text, HasSubstr("seconds_bucket{kind=\"all\",le=\"1\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("seconds_bucket{kind=\"all\",le=\"2\"} 8000\n"));
  EXPECT_THAT(text, HasSubstr("seconds_sum{kind=\"all\"} 12000\n"));
}

}  // namespace
}  // namespace mtm
