// SPDX-License-Identifier: Apache-2.0
#include "tests/load/report.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace mtm::load {
namespace {

// The nearest rank: the smallest value that at least this share is not above.
double Percentile(const std::vector<double>& sorted, double share) {
  const auto rank = static_cast<size_t>(std::ceil(share * static_cast<double>(sorted.size())));
  return sorted[std::max<size_t>(rank, 1) - 1];
}

nlohmann::ordered_json Distribution(std::vector<double> values) {
  if (values.empty()) return {{"count", 0}};
  std::sort(values.begin(), values.end());
  return {{"count", values.size()},
          {"mean", std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size())},
          {"p50", Percentile(values, 0.5)},
          {"p90", Percentile(values, 0.9)},
          {"p99", Percentile(values, 0.99)},
          {"max", values.back()}};
}

std::string DescribeTimes(const std::string& name, const nlohmann::ordered_json& times) {
  if (times["count"] == 0) return absl::StrFormat("%-22s -\n", name);
  const auto ms = [&times](const char* key) { return 1000 * times[key].get<double>(); };
  return absl::StrFormat("%-22s p50 %.1f ms  p90 %.1f ms  p99 %.1f ms  max %.1f ms\n", name, ms("p50"),
                         ms("p90"), ms("p99"), ms("max"));
}

}  // namespace

nlohmann::ordered_json Summarize(const std::vector<Record>& records, const Window& window) {
  const double seconds = window.end - window.begin;
  const auto is_within = [&window](double time) { return time >= window.begin && time < window.end; };
  std::map<std::string, int64_t> codes;
  std::vector<double> first, between, whole, refused;
  std::vector<int64_t> by_second(static_cast<size_t>(seconds));
  int64_t n_requests = 0, n_tokens = 0;
  for (const Record& record : records) {
    for (size_t i = 0; i < record.tokens.size(); ++i) {
      const double time = record.tokens[i];
      if (!is_within(time)) continue;
      ++n_tokens;
      const auto second = static_cast<size_t>(time - window.begin);
      if (second < by_second.size()) ++by_second[second];
      if (i > 0) between.push_back(time - record.tokens[i - 1]);
    }
    if (!is_within(record.start)) continue;
    ++n_requests;
    ++codes[absl::StatusCodeToString(record.code)];
    if (!record.tokens.empty()) first.push_back(record.tokens.front() - record.start);
    if (record.code == absl::StatusCode::kOk) whole.push_back(record.end - record.start);
    if (record.code == absl::StatusCode::kResourceExhausted) refused.push_back(record.end - record.start);
  }
  return {{"seconds", seconds},
          {"requests", n_requests},
          {"requests_per_second", static_cast<double>(n_requests) / seconds},
          {"tokens_per_second", static_cast<double>(n_tokens) / seconds},
          {"codes", codes},
          {"time_to_first_token_seconds", Distribution(first)},
          {"time_between_tokens_seconds", Distribution(between)},
          {"request_seconds", Distribution(whole)},
          {"refusal_seconds", Distribution(refused)},
          {"tokens_by_second", by_second}};
}

std::string Describe(const nlohmann::ordered_json& summary) {
  std::string text = absl::StrFormat("%-22s %.1f tokens/s, %.2f requests/s\n", "throughput",
                                     summary["tokens_per_second"].get<double>(),
                                     summary["requests_per_second"].get<double>());
  text += DescribeTimes("time to first token", summary["time_to_first_token_seconds"]);
  text += DescribeTimes("time between tokens", summary["time_between_tokens_seconds"]);
  text += DescribeTimes("whole request", summary["request_seconds"]);
  if (summary["refusal_seconds"]["count"] != 0) text += DescribeTimes("refusal", summary["refusal_seconds"]);
  std::string codes;
  for (const auto& [code, count] : summary["codes"].items())
    absl::StrAppend(&codes, " ", code, " ", count.dump());
  return text + absl::StrFormat("%-22s%s\n", "requests by code", codes.empty() ? " -" : codes);
}

}  // namespace mtm::load
