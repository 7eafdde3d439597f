// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_METRICS_EXPOSITION_H_
#define MTM_SERVER_METRICS_EXPOSITION_H_

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mtm {

using Labels = std::vector<std::pair<std::string, std::string>>;

// Writes metrics in Prometheus' text format, version 0.0.4: a family's head, then its samples. Names are by
// Prometheus' conventions: `mtm_` in front, the unit at the end, `_total` behind it for counters.
class Exposition {
 public:
  enum class Type { kCounter, kGauge, kHistogram, kSummary };

  void Family(const std::string& name, std::string_view help, Type type);
  // Of the family begun last; `suffix` is appended to its name, as `_sum`.
  void Sample(double value, const Labels& labels = {}, std::string_view suffix = "");

  // A family of one sample.
  void Gauge(const std::string& name, std::string_view help, double value);
  void Counter(const std::string& name, std::string_view help, double value);
  // Of a histogram: `counts` of observations up to each of the ascending `bounds` and above the one before,
  // and one more above all.
  void Buckets(const std::vector<double>& bounds, const std::vector<double>& counts, double sum,
               const Labels& labels = {});

  const std::string& text() const { return text_; }

 private:
  std::string family_;
  std::string text_;
};

}  // namespace mtm

#endif  // MTM_SERVER_METRICS_EXPOSITION_H_
