// SPDX-License-Identifier: Apache-2.0
#include "client/top/activity.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/render/text_width.h"
#include "client/top/render_activity.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mtm::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

// A server that has done `n` times the same.
Scrape After(int n) {
  const auto scrape = Scrape::Parse(absl::StrCat(
      "mtm_rpcs_total{rpc=\"StreamGenerate\",code=\"OK\"} ", 20 * n, "\n",
      "mtm_rpcs_total{rpc=\"StreamGenerate\",code=\"RESOURCE_EXHAUSTED\"} ", 4 * n, "\n",
      "mtm_rpcs_total{rpc=\"GetModel\",code=\"OK\"} 7\n",
      "mtm_rpc_duration_seconds_bucket{rpc=\"StreamGenerate\",le=\"1\"} ", 10 * n, "\n",
      "mtm_rpc_duration_seconds_bucket{rpc=\"StreamGenerate\",le=\"+Inf\"} ", 10 * n, "\n",
      "mtm_requests_refused_total{reason=\"line_full\"} ", 4 * n, "\n",
      "mtm_requests_refused_total{reason=\"deadline\"} 1\n", "mtm_generated_tokens_total ", 400 * n,
      "\nmtm_prompt_tokens_total ", 3000 * n, "\n", "mtm_step_duration_seconds_count ", 200 * n,
      "\nmtm_rows_total ", 4000 * n, "\nmtm_batch_size_sum ", 600 * n, "\nmtm_batch_size_count ", 200 * n,
      "\n", "mtm_time_to_first_token_seconds_bucket{le=\"0.1\"} ", 15 * n, "\n",
      "mtm_time_to_first_token_seconds_bucket{le=\"0.2\"} ", 20 * n, "\n",
      "mtm_time_to_first_token_seconds_bucket{le=\"+Inf\"} ", 20 * n, "\n", "mtm_tokens_heads_changed_total ",
      30 * n, "\nmtm_tokens_heads_total ", 120 * n, "\n", "mtm_memory_seconds_total ", n,
      "\nmtm_rpc_duration_seconds_sum{rpc=\"Score\"} ", 8 * n, "\n",
      "mtm_rpcs_active 20\nmtm_requests_waiting 5\nmtm_sequences{state=\"running\"} "
      "12\nmtm_sequences{state=\"resting\"} 3\n",
      "mtm_cache_bytes 1048576\nmtm_memories{state=\"resident\"} 2\nmtm_resident_bytes 2097152\n",
      "process_resident_memory_bytes 3145728\nprocess_start_time_seconds 1700000000\n"));
  EXPECT_TRUE(scrape.ok()) << scrape.status();
  return *scrape;
}

constexpr absl::Duration kTwoSeconds = absl::Seconds(2);

TEST(ActivityTest, RatesAreOfWhatCameBetween) {
  const Activity activity = ActivityBetween(After(1), After(2), kTwoSeconds);
  ASSERT_EQ(activity.rpcs.size(), 2u);
  EXPECT_EQ(activity.rpcs[0].name, "GetModel");
  EXPECT_EQ(activity.rpcs[0].rate, 0);
  EXPECT_TRUE(std::isnan(activity.rpcs[0].duration.p50));
  EXPECT_EQ(activity.rpcs[1].rate, 12);
  EXPECT_THAT(activity.rpcs[1].errors, ElementsAre(Pair("RESOURCE_EXHAUSTED", 2)));
  EXPECT_DOUBLE_EQ(activity.rpcs[1].duration.p50, 0.5);
  EXPECT_THAT(activity.refused, ElementsAre(Pair("line_full", 2)));
  EXPECT_EQ(activity.generated_tokens, 200);
  EXPECT_EQ(activity.prompt_tokens, 1500);
  EXPECT_EQ(activity.steps, 100);
  EXPECT_EQ(activity.rows, 2000);
  EXPECT_EQ(activity.mean_batch, 3);
  EXPECT_DOUBLE_EQ(activity.first_token.p95, 0.18);
  EXPECT_TRUE(std::isnan(activity.per_token.p50));
  EXPECT_EQ(activity.heads_changed, 0.25);
  EXPECT_EQ(activity.memory_time, 0.125);
}

TEST(ActivityTest, StateIsThatOfNow) {
  const Activity activity = ActivityBetween(After(1), After(2), kTwoSeconds);
  EXPECT_EQ(activity.waiting, 5);
  EXPECT_THAT(activity.sequences, ElementsAre(Pair("resting", 3), Pair("running", 12)));
  EXPECT_EQ(activity.process_bytes, 3 << 20);
  EXPECT_EQ(activity.started, absl::FromUnixSeconds(1700000000));
}

TEST(ActivityTest, ARestartedServerCountsFromZero) {
  const Activity activity = ActivityBetween(After(9), After(1), kTwoSeconds);
  EXPECT_EQ(activity.generated_tokens, 200);
  EXPECT_DOUBLE_EQ(activity.first_token.p95, 0.18);
}

TEST(ActivityTest, NothingIsNullInJson) {
  const auto json = ToJson(ActivityBetween(Scrape(), Scrape(), kTwoSeconds));
  EXPECT_TRUE(json["mean_batch_size"].is_null());
  EXPECT_TRUE(json["time_to_first_token_seconds"]["p95"].is_null());
  EXPECT_EQ(json["generated_tokens_per_second"], 0);
  EXPECT_EQ(ToJson(ActivityBetween(After(1), After(2), kTwoSeconds))["rpcs"]["StreamGenerate"]["per_second"],
            12);
}

TEST(RenderActivityTest, AScreen) {
  const Activity activity = ActivityBetween(After(1), After(2), kTwoSeconds);
  EXPECT_EQ(RenderActivity(activity, activity.started + absl::Seconds(65), 80, {}),
            R"(server     up 1 min 05 s, 3.0 MiB resident
requests   20 under way, 5 of them waiting
refused    2.0 line_full a second
sequences  3 resting, 12 running; 1.0 MiB of keys and values
steps      100 a second, 3.0 sequences each; 2,000 rows a second
tokens     200 generated and 1,500 of prompts a second
lookups    25.0 % of tokens-heads changed, in 12.5 % of the time
memories   2 resident; 2.0 MiB loaded

latency                   p50     p95
in the queue                -       -
to the first token      67 ms  180 ms
for each further token      -       -

rpc             per second     p50     p95  errors per second
GetModel               0.0       -       -
StreamGenerate        12.0  500 ms  950 ms  2.0 RESOURCE_EXHAUSTED
)");
}

TEST(RenderActivityTest, FitsANarrowTerminal) {
  const Activity activity = ActivityBetween(After(1), After(2), kTwoSeconds);
  const std::vector<std::string> lines =
      absl::StrSplit(RenderActivity(activity, activity.started, 64, {}), '\n');
  for (const std::string& line : lines)
    EXPECT_LE(DisplayWidth(line), 64 + 5) << line;  // errors keep 24 columns
}

TEST(RenderActivityTest, WhateverTheMetricsSay) {
  const auto scrape = Scrape::Parse(
      "mtm_rpcs_total{rpc=\"\x1b[2J\",code=\"OK\"} NaN\nmtm_requests_waiting -1e300\nmtm_cache_bytes +Inf\n"
      "process_start_time_seconds 1e308\nmtm_memories{state=\"a\\nb\"} 1e300\nmtm_generated_tokens_total "
      "Inf\n");
  ASSERT_TRUE(scrape.ok());
  const std::string screen =
      RenderActivity(ActivityBetween(Scrape(), *scrape, kTwoSeconds), absl::Now(), 80, {});
  EXPECT_THAT(screen, HasSubstr("\\x1B[2J"));
  EXPECT_EQ(screen.find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace mtm::client
