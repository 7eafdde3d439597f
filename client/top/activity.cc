// SPDX-License-Identifier: Apache-2.0
#include "client/top/activity.h"

#include <cmath>

namespace mtm::client {
namespace {

constexpr char kRpcs[] = "mtm_rpcs_total";
constexpr char kRpcDuration[] = "mtm_rpc_duration_seconds";

double Increase(double before, double now) { return now >= before ? now - before : now; }

double Share(double part, double whole) { return whole > 0 ? part / whole : NAN; }

// What came to counters and histograms between two scrapes.
class Difference {
 public:
  Difference(const Scrape& before, const Scrape& now, absl::Duration elapsed)
      : before_(before), now_(now), seconds_(absl::ToDoubleSeconds(elapsed)) {}

  double Of(const std::string& counter, const MetricLabels& labels = {}) const {
    return Increase(before_.Sum(counter, labels), now_.Sum(counter, labels));
  }

  double Rate(const std::string& counter, const MetricLabels& labels = {}) const {
    return Of(counter, labels) / seconds_;
  }

  // By the values of a label, those above 0.
  std::map<std::string, double> Rates(const std::string& counter, const std::string& label,
                                      const MetricLabels& labels = {}) const {
    const auto before = before_.SumsBy(counter, label, labels);
    std::map<std::string, double> rates;
    for (const auto& [value, sum] : now_.SumsBy(counter, label, labels)) {
      const auto found = before.find(value);
      const double increase = Increase(found == before.end() ? 0 : found->second, sum);
      if (increase > 0) rates[value] = increase / seconds_;
    }
    return rates;
  }

  Percentiles PercentilesOf(const std::string& histogram, const MetricLabels& labels = {}) const {
    Buckets buckets = now_.BucketsOf(histogram, labels);
    const Buckets before = before_.BucketsOf(histogram, labels);
    const bool goes_on =
        before.size() == buckets.size() && !before.empty() && before.back().second <= buckets.back().second;
    for (size_t i = 0; goes_on && i < buckets.size(); ++i) buckets[i].second -= before[i].second;
    return {Quantile(0.5, buckets), Quantile(0.95, buckets)};
  }

 private:
  const Scrape& before_;
  const Scrape& now_;
  const double seconds_;
};

std::vector<Activity::Rpc> RpcsOf(const Difference& difference, const Scrape& now) {
  std::vector<Activity::Rpc> rpcs;
  for (const auto& [name, count] : now.SumsBy(kRpcs, "rpc")) {
    Activity::Rpc rpc{.name = name};
    rpc.rate = difference.Rate(kRpcs, {{"rpc", name}});
    rpc.errors = difference.Rates(kRpcs, "code", {{"rpc", name}});
    rpc.errors.erase("OK");
    rpc.duration = difference.PercentilesOf(kRpcDuration, {{"rpc", name}});
    rpcs.push_back(std::move(rpc));
  }
  return rpcs;
}

// The time that requests took, which counts when they end, as that of their memories does.
double RequestSeconds(const Difference& difference) {
  double seconds = 0;
  for (const char* rpc : {"Generate", "StreamGenerate", "Score"}) {
    seconds += difference.Of(std::string(kRpcDuration) + "_sum", {{"rpc", rpc}});
  }
  return seconds;
}

nlohmann::ordered_json NumberOrNull(double value) {
  return std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json();
}

nlohmann::ordered_json ToJson(const Percentiles& percentiles) {
  return {{"p50", NumberOrNull(percentiles.p50)}, {"p95", NumberOrNull(percentiles.p95)}};
}

nlohmann::ordered_json ToJson(const std::map<std::string, double>& values) {
  auto json = nlohmann::ordered_json::object();
  for (const auto& [name, value] : values) json[name] = NumberOrNull(value);
  return json;
}

}  // namespace

Activity ActivityBetween(const Scrape& before, const Scrape& now, absl::Duration elapsed) {
  const Difference difference(before, now, elapsed);
  Activity activity;
  activity.rpcs = RpcsOf(difference, now);
  activity.refused = difference.Rates("mtm_requests_refused_total", "reason");
  activity.generated_tokens = difference.Rate("mtm_generated_tokens_total");
  activity.prompt_tokens = difference.Rate("mtm_prompt_tokens_total");
  activity.steps = difference.Rate("mtm_step_duration_seconds_count");
  activity.rows = difference.Rate("mtm_rows_total");
  activity.mean_batch = Share(difference.Of("mtm_batch_size_sum"), difference.Of("mtm_batch_size_count"));
  activity.first_token = difference.PercentilesOf("mtm_time_to_first_token_seconds");
  activity.per_token = difference.PercentilesOf("mtm_time_per_token_seconds");
  activity.queue = difference.PercentilesOf("mtm_queue_seconds");
  activity.heads_changed =
      Share(difference.Of("mtm_tokens_heads_changed_total"), difference.Of("mtm_tokens_heads_total"));
  activity.memory_time = Share(difference.Of("mtm_memory_seconds_total"), RequestSeconds(difference));
  activity.active = now.Sum("mtm_rpcs_active");
  activity.waiting = now.Sum("mtm_requests_waiting");
  activity.sequences = now.SumsBy("mtm_sequences", "state");
  activity.cache_bytes = now.Sum("mtm_cache_bytes");
  activity.memories = now.SumsBy("mtm_memories", "state");
  activity.resident_bytes = now.Sum("mtm_resident_bytes");
  activity.process_bytes = now.Sum("process_resident_memory_bytes");
  activity.started = absl::UnixEpoch() + absl::Seconds(now.Sum("process_start_time_seconds"));
  return activity;
}

nlohmann::ordered_json ToJson(const Activity& activity) {
  auto rpcs = nlohmann::ordered_json::object();
  for (const Activity::Rpc& rpc : activity.rpcs) {
    rpcs[rpc.name] = {{"per_second", NumberOrNull(rpc.rate)},
                      {"errors_per_second", ToJson(rpc.errors)},
                      {"duration_seconds", ToJson(rpc.duration)}};
  }
  return {{"rpcs", rpcs},
          {"refused_per_second", ToJson(activity.refused)},
          {"generated_tokens_per_second", NumberOrNull(activity.generated_tokens)},
          {"prompt_tokens_per_second", NumberOrNull(activity.prompt_tokens)},
          {"steps_per_second", NumberOrNull(activity.steps)},
          {"rows_per_second", NumberOrNull(activity.rows)},
          {"mean_batch_size", NumberOrNull(activity.mean_batch)},
          {"time_to_first_token_seconds", ToJson(activity.first_token)},
          {"time_per_token_seconds", ToJson(activity.per_token)},
          {"queue_seconds", ToJson(activity.queue)},
          {"tokens_heads_changed_share", NumberOrNull(activity.heads_changed)},
          {"memory_time_share", NumberOrNull(activity.memory_time)},
          {"rpcs_active", NumberOrNull(activity.active)},
          {"requests_waiting", NumberOrNull(activity.waiting)},
          {"sequences", ToJson(activity.sequences)},
          {"cache_bytes", NumberOrNull(activity.cache_bytes)},
          {"memories", ToJson(activity.memories)},
          {"memories_resident_bytes", NumberOrNull(activity.resident_bytes)},
          {"process_resident_bytes", NumberOrNull(activity.process_bytes)},
          {"process_start_time_seconds",
           NumberOrNull(absl::ToDoubleSeconds(activity.started - absl::UnixEpoch()))}};
}

}  // namespace mtm::client
