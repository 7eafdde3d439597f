// SPDX-License-Identifier: Apache-2.0
#include "server/metrics/exposition.h"

#include <charconv>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace mtm {
namespace {

constexpr const char* kTypes[] = {"counter", "gauge", "histogram", "summary"};

// The shortest text that reads back as the same number.
std::string FormatNumber(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  char digits[32];
  const auto end = std::to_chars(digits, digits + sizeof(digits), value).ptr;
  return std::string(digits, end);
}

std::string Escape(const std::string& label) {
  return absl::StrReplaceAll(label, {{"\\", "\\\\"}, {"\n", "\\n"}, {"\"", "\\\""}});
}

}  // namespace

void Exposition::Family(const std::string& name, std::string_view help, Type type) {
  family_ = name;
  absl::StrAppend(&text_, "# HELP ", name, " ", std::string(help), "\n");
  absl::StrAppend(&text_, "# TYPE ", name, " ", kTypes[static_cast<int>(type)], "\n");
}

void Exposition::Sample(double value, const Labels& labels, std::string_view suffix) {
  text_ += family_;
  text_ += suffix;
  char separator = '{';
  for (const auto& [name, label] : labels) {
    text_ += separator;
    absl::StrAppend(&text_, name, "=\"", Escape(label), "\"");
    separator = ',';
  }
  absl::StrAppend(&text_, labels.empty() ? "" : "}", " ", FormatNumber(value), "\n");
}

void Exposition::Gauge(const std::string& name, std::string_view help, double value) {
  Family(name, help, Type::kGauge);
  Sample(value);
}

void Exposition::Counter(const std::string& name, std::string_view help, double value) {
  Family(name, help, Type::kCounter);
  Sample(value);
}

void Exposition::Buckets(const std::vector<double>& bounds, const std::vector<double>& counts, double sum,
                         const Labels& labels) {
  Labels with_bound = labels;
  with_bound.emplace_back("le", "");
  double cumulative = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    cumulative += counts[i];
    with_bound.back().second = FormatNumber(i < bounds.size() ? bounds[i] : INFINITY);
    Sample(cumulative, with_bound, "_bucket");
  }
  Sample(sum, labels, "_sum");
  Sample(cumulative, labels, "_count");
}

}  // namespace mtm
