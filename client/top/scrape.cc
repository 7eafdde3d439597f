// SPDX-License-Identifier: Apache-2.0
#include "client/top/scrape.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace mtm::client {
namespace {

constexpr char kSpaces[] = " \t";

bool IsNameCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == ':';
}

// Reads one line of samples from its beginning.
class LineReader {
 public:
  explicit LineReader(std::string_view line) : rest_(line) {}

  void SkipSpaces() { rest_.remove_prefix(std::min(rest_.find_first_not_of(kSpaces), rest_.size())); }

  bool Take(char c) {
    if (!rest_.starts_with(c)) return false;
    rest_.remove_prefix(1);
    return true;
  }

  // Empty where there is none.
  std::string Name() {
    if (!rest_.empty() && rest_.front() >= '0' && rest_.front() <= '9') return "";
    const auto end = std::find_if_not(rest_.begin(), rest_.end(), IsNameCharacter);
    const std::string name(rest_.begin(), end);
    rest_.remove_prefix(name.size());
    return name;
  }

  // What stands in quotes, which `rest` begins with.
  std::optional<std::string> Quoted() {
    if (!Take('"')) return std::nullopt;
    std::string text;
    while (!rest_.empty()) {
      const char c = rest_.front();
      rest_.remove_prefix(1);
      if (c == '"') return text;
      if (c != '\\') {
        text += c;
        continue;
      }
      if (rest_.empty()) return std::nullopt;
      text += rest_.front() == 'n' ? '\n' : rest_.front();
      rest_.remove_prefix(1);
    }
    return std::nullopt;
  }

  // {name="value",...}, or nothing.
  std::optional<MetricLabels> Labels() {
    MetricLabels labels;
    if (!Take('{')) return labels;
    while (SkipSpaces(), !Take('}')) {
      const std::string name = Name();
      SkipSpaces();
      if (name.empty() || !Take('=')) return std::nullopt;
      SkipSpaces();
      auto value = Quoted();
      if (!value) return std::nullopt;
      labels[name] = *std::move(value);
      SkipSpaces();
      if (!Take(',') && !rest_.starts_with('}')) return std::nullopt;
    }
    return labels;
  }

  // The value, behind which a time may stand.
  std::optional<double> Value() {
    SkipSpaces();
    const std::string word(rest_.substr(0, rest_.find_first_of(kSpaces)));
    double value = 0;
    if (!absl::SimpleAtod(word, &value)) return std::nullopt;
    return value;
  }

 private:
  std::string_view rest_;
};

bool Has(const MetricLabels& all, const MetricLabels& some) {
  return std::ranges::all_of(some, [&all](const auto& label) {
    const auto found = all.find(label.first);
    return found != all.end() && found->second == label.second;
  });
}

}  // namespace

absl::StatusOr<Scrape> Scrape::Parse(std::string_view text) {
  Scrape scrape;
  int number = 0;
  for (const absl::string_view piece : absl::StrSplit(absl::string_view(text.data(), text.size()), '\n')) {
    ++number;
    std::string_view line(piece.data(), piece.size());
    if (line.ends_with('\r')) line.remove_suffix(1);
    LineReader reader(line);
    reader.SkipSpaces();
    if (line.find_first_not_of(kSpaces) == std::string_view::npos || reader.Take('#')) continue;
    const std::string name = reader.Name();
    reader.SkipSpaces();
    auto labels = reader.Labels();
    const auto value = labels ? reader.Value() : std::nullopt;
    if (name.empty() || !value) {
      return absl::InvalidArgumentError(absl::StrCat("line ", number, " is no metric in Prometheus' format"));
    }
    scrape.samples_[name].push_back({*std::move(labels), *value});
  }
  return scrape;
}

double Scrape::Sum(const std::string& name, const MetricLabels& labels) const {
  double sum = 0;
  const auto found = samples_.find(name);
  if (found == samples_.end()) return sum;
  for (const Sample& sample : found->second) {
    if (Has(sample.labels, labels)) sum += sample.value;
  }
  return sum;
}

std::map<std::string, double> Scrape::SumsBy(const std::string& name, const std::string& label,
                                             const MetricLabels& labels) const {
  std::map<std::string, double> sums;
  const auto found = samples_.find(name);
  if (found == samples_.end()) return sums;
  for (const Sample& sample : found->second) {
    const auto value = sample.labels.find(label);
    if (value != sample.labels.end() && Has(sample.labels, labels)) sums[value->second] += sample.value;
  }
  return sums;
}

Buckets Scrape::BucketsOf(const std::string& name, const MetricLabels& labels) const {
  std::map<double, double> counts;
  for (const auto& [text, count] : SumsBy(name + "_bucket", "le", labels)) {
    double bound = 0;
    if (absl::SimpleAtod(text, &bound) && !std::isnan(bound)) counts[bound] += count;
  }
  return {counts.begin(), counts.end()};
}

double Quantile(double q, const Buckets& buckets) {
  if (buckets.empty() || !(buckets.back().second > 0)) return NAN;
  const double rank = q * buckets.back().second;
  double lower_bound = 0;
  double below = 0;
  for (const auto& [bound, count] : buckets) {
    if (count < rank) {
      lower_bound = bound;
      below = count;
      continue;
    }
    if (std::isinf(bound) || count <= below) return lower_bound;
    return lower_bound + (bound - lower_bound) * (rank - below) / (count - below);
  }
  return lower_bound;
}

}  // namespace mtm::client
