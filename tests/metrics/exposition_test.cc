// SPDX-License-Identifier: Apache-2.0
#include "server/metrics/exposition.h"

#include <gtest/gtest.h>

#include <cmath>

namespace mtm {
namespace {

TEST(ExpositionTest, WritesHelpTypeAndSamplesAsPrometheusReadsThem) {
  Exposition exposition;
  exposition.Family("mtm_rpcs_total", "Rpcs that ended.", Exposition::Type::kCounter);
  exposition.Sample(3, {{"rpc", "Generate"}, {"code", "OK"}});
  exposition.Sample(0.5, {{"rpc", "Score"}, {"code", "INTERNAL"}});
  exposition.Gauge("mtm_up", "One.", 1);
  EXPECT_EQ(exposition.text(),
            "# HELP mtm_rpcs_total Rpcs that ended.\n"
            "# TYPE mtm_rpcs_total counter\n"
            "mtm_rpcs_total{rpc=\"Generate\",code=\"OK\"} 3\n"
            "mtm_rpcs_total{rpc=\"Score\",code=\"INTERNAL\"} 0.5\n"
            "# HELP mtm_up One.\n"
            "# TYPE mtm_up gauge\n"
            "mtm_up 1\n");
}

TEST(ExpositionTest, EscapesLabelValues) {
  Exposition exposition;
  exposition.Family("info", "Say.", Exposition::Type::kGauge);
  exposition.Sample(1, {{"model", "a\\b\"c\nd"}});
  EXPECT_NE(exposition.text().find(R"(info{model="a\\b\"c\nd"} 1)"), std::string::npos) << exposition.text();
}

TEST(ExpositionTest, NumbersReadBackAsTheSame) {
  Exposition exposition;
  for (const double value : {0.1, 1e-9, 1.7976931348623157e308, 9007199254740993.0}) {
    exposition.Gauge("x", "X.", value);
    const std::string text = exposition.text();
    EXPECT_EQ(std::stod(text.substr(text.rfind(' '))), value);
  }
  exposition.Gauge("x", "X.", INFINITY);
  EXPECT_TRUE(exposition.text().ends_with("x +Inf\n"));
  exposition.Gauge("x", "X.", NAN);
  EXPECT_TRUE(exposition.text().ends_with("x NaN\n"));
}

TEST(ExpositionTest, BucketsAreCumulative) {
  Exposition exposition;
  exposition.Family("rows", "Rows.", Exposition::Type::kHistogram);
  exposition.Buckets({1, 2.5}, {3, 0, 4}, 21.5, {{"kind", "a"}});
  EXPECT_EQ(exposition.text(),
            "# HELP rows Rows.\n"
            "# TYPE rows histogram\n"
            "rows_bucket{kind=\"a\",le=\"1\"} 3\n"
            "rows_bucket{kind=\"a\",le=\"2.5\"} 3\n"
            "rows_bucket{kind=\"a\",le=\"+Inf\"} 7\n"
            "rows_sum{kind=\"a\"} 21.5\n"
            "rows_count{kind=\"a\"} 7\n");
}

}  // namespace
}  // namespace mtm
