// SPDX-License-Identifier: Apache-2.0
#include "client/options/memory_use_spec.h"

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/options/lists.h"

namespace mtm::client {
namespace {

using Setting = std::pair<std::string, std::string>;

absl::StatusOr<int32_t> ParseInteger(const std::string& text) {
  int32_t value = 0;
  if (absl::SimpleAtoi(text, &value)) return value;
  return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is no integer"));
}

absl::StatusOr<double> ParseDouble(const std::string& text) {
  double value = 0;
  if (absl::SimpleAtod(text, &value)) return value;
  return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is no number"));
}

absl::StatusOr<v1::Method> ParseMethod(const std::string& text) {
  if (text == "1") return v1::METHOD_TYPE_1;
  if (text == "2") return v1::METHOD_TYPE_2;
  if (text == "3") return v1::METHOD_TYPE_3;
  return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is no method: 1, 2 or 3"));
}

template <typename T, typename Set>
absl::Status Apply(absl::StatusOr<T> value, Set set) {
  if (!value.ok()) return value.status();
  set(*std::move(value));
  return absl::OkStatus();
}

// Items without '=' go on with the list of layers before them.
absl::StatusOr<std::vector<Setting>> SplitSettings(const std::string& text) {
  std::vector<Setting> settings;
  const std::vector<std::string> items = absl::StrSplit(text, ',');
  for (const std::string& item : items) {
    if (item.find('=') != std::string::npos) {
      settings.push_back(absl::StrSplit(item, absl::MaxSplits('=', 1)));
    } else if (!settings.empty() && settings.back().first == "layers") {
      absl::StrAppend(&settings.back().second, ",", item);
    } else {
      return absl::InvalidArgumentError(absl::StrCat("\"", item, "\" is no key=value"));
    }
  }
  return settings;
}

}  // namespace

absl::Status SetMemoryUseField(std::string_view key, std::string_view value_text, v1::MemoryUse& use) {
  const std::string value(value_text);
  if (key == "layers") {
    return Apply(ParseLayers(value),
                 [&](std::vector<int32_t> v) { use.mutable_layers()->Assign(v.begin(), v.end()); });
  }
  if (key == "method") return Apply(ParseMethod(value), [&](v1::Method v) { use.set_method(v); });
  if (key == "k") return Apply(ParseInteger(value), [&](int32_t v) { use.set_k(v); });
  if (key == "mf") return Apply(ParseDouble(value), [&](double v) { use.set_memory_fraction(v); });
  if (key == "bf") return Apply(ParseDouble(value), [&](double v) { use.set_bookkeeping_fraction(v); });
  if (key == "ts") return Apply(ParseDouble(value), [&](double v) { use.set_score_scale(v); });
  if (key == "r") return Apply(ParseDouble(value), [&](double v) { use.set_residual_fraction(v); });
  if (key == "heads") return Apply(ParseDouble(value), [&](double v) { use.set_head_fraction(v); });
  return absl::InvalidArgumentError("unknown key; there are layers, method, k, mf, bf, ts, r, heads");
}

absl::StatusOr<v1::MemoryUse> ParseMemoryUse(std::string_view spec) {
  const auto refuse = [&](const std::string& why) {
    return absl::InvalidArgumentError(absl::StrCat("--memory ", std::string(spec), ": ", why));
  };
  v1::MemoryUse use;
  const size_t colon = spec.find(':');
  use.set_memory(std::string(spec.substr(0, colon)));
  if (use.memory().empty()) return refuse("no name");
  if (colon == std::string_view::npos) return use;

  const auto settings = SplitSettings(std::string(spec.substr(colon + 1)));
  if (!settings.ok()) return refuse(std::string(settings.status().message()));
  std::set<std::string> seen;
  for (const auto& [key, value] : *settings) {
    if (!seen.insert(key).second) return refuse(absl::StrCat(key, " comes twice"));
    const absl::Status status = SetMemoryUseField(key, value, use);
    if (!status.ok()) return refuse(absl::StrCat(key, ": ", std::string(status.message())));
  }
  return use;
}

void ApplyDefaults(const v1::MemoryUse& defaults, v1::MemoryUse& use) {
  v1::MemoryUse merged = defaults;
  // Merging would append one list of layers to the other.
  if (use.layers_size() > 0) merged.clear_layers();
  merged.MergeFrom(use);
  use = std::move(merged);
}

}  // namespace mtm::client
