// SPDX-License-Identifier: Apache-2.0
#include "client/top/render_activity.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/render/format.h"
#include "client/render/table.h"
#include "client/render/text_width.h"

namespace mtm::client {
namespace {

constexpr char kNothing[] = "-";
constexpr int kFieldNames = 11;  // columns, with the gap
constexpr int kNarrowest = 20;

std::string Seconds(double seconds) {
  if (!std::isfinite(seconds)) return kNothing;
  if (seconds < 0.01) return absl::StrFormat("%.2f ms", 1000 * seconds);
  if (seconds < 1) return absl::StrFormat("%.0f ms", 1000 * seconds);
  return FormatElapsed(absl::Seconds(seconds));
}

// Metrics may hold any number; whole ones here are counts and bytes.
int64_t Whole(double value) {
  constexpr double kMost = 1e18;
  return std::isfinite(value) ? static_cast<int64_t>(std::clamp(value, 0.0, kMost)) : 0;
}

std::string Rate(double rate) {
  if (!std::isfinite(rate)) return kNothing;
  return rate < 99.95 ? absl::StrFormat("%.1f", rate) : FormatCount(Whole(std::round(rate)));
}

std::string Percent(double share) { return std::isfinite(share) ? FormatPercent(share) : kNothing; }

// "2 running, 1 resting"
std::string Counts(const std::map<std::string, double>& counts) {
  std::string text;
  for (const auto& [state, count] : counts) {
    absl::StrAppend(&text, text.empty() ? "" : ", ", FormatCount(Whole(count)), " ", EscapeControl(state));
  }
  return text.empty() ? "none" : text;
}

std::string Rates(const std::map<std::string, double>& rates) {
  std::string text;
  for (const auto& [what, rate] : rates) {
    absl::StrAppend(&text, text.empty() ? "" : ", ", Rate(rate), " ", EscapeControl(what));
  }
  return text;
}

// In `width` columns, which are no limit where they are few.
std::string Cut(const std::string& text, int width) {
  return width >= kNarrowest && DisplayWidth(text) > width ? FitLeft(text, width) : text;
}

Row LatencyRow(const std::string& what, const Percentiles& percentiles) {
  return {what, Seconds(percentiles.p50), Seconds(percentiles.p95)};
}

std::string RpcTable(const Activity& activity, int width, const Style& style) {
  std::vector<Row> rows;
  for (const Activity::Rpc& rpc : activity.rpcs) {
    rows.push_back({EscapeControl(rpc.name), Rate(rpc.rate), Seconds(rpc.duration.p50),
                    Seconds(rpc.duration.p95), Rates(rpc.errors)});
  }
  return RenderTable({{"rpc"},
                      {"per second", Align::kRight},
                      {"p50", Align::kRight},
                      {"p95", Align::kRight},
                      {"errors per second"}},
                     rows, width, style);
}

}  // namespace

std::string RenderActivity(const Activity& activity, absl::Time now, int width, const Style& style) {
  const std::string refused = Rates(activity.refused);
  std::vector<std::pair<std::string, std::string>> fields = {
      {"server", absl::StrCat("up ", FormatElapsed(now - activity.started), ", ",
                              FormatBytes(Whole(activity.process_bytes)), " resident")},
      {"requests", absl::StrCat(FormatCount(Whole(activity.active)), " under way, ",
                                FormatCount(Whole(activity.waiting)), " of them waiting")},
      {"refused", refused.empty() ? "none" : absl::StrCat(refused, " a second")},
      {"sequences", absl::StrCat(Counts(activity.sequences), "; ", FormatBytes(Whole(activity.cache_bytes)),
                                 " of keys and values")},
      {"steps", absl::StrCat(Rate(activity.steps), " a second, ", Rate(activity.mean_batch),
                             " sequences each; ", Rate(activity.rows), " rows a second")},
      {"tokens", absl::StrCat(Rate(activity.generated_tokens), " generated and ",
                              Rate(activity.prompt_tokens), " of prompts a second")},
      {"lookups", absl::StrCat(Percent(activity.heads_changed), " of tokens-heads changed, in ",
                               Percent(activity.memory_time), " of the time")},
      {"memories", absl::StrCat(Counts(activity.memories), "; ", FormatBytes(Whole(activity.resident_bytes)),
                                " loaded")}};
  for (auto& [name, value] : fields) value = Cut(value, width - kFieldNames);
  std::string out = RenderFields(fields, style);
  absl::StrAppend(&out, "\n",
                  RenderTable({{"latency"}, {"p50", Align::kRight}, {"p95", Align::kRight}},
                              {LatencyRow("in the queue", activity.queue),
                               LatencyRow("to the first token", activity.first_token),
                               LatencyRow("for each further token", activity.per_token)},
                              width, style));
  if (!activity.rpcs.empty()) absl::StrAppend(&out, "\n", RpcTable(activity, width, style));
  return out;
}

}  // namespace mtm::client
