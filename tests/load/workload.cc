// SPDX-License-Identifier: Apache-2.0
#include "tests/load/workload.h"

#include <iterator>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "client/options/memory_use_spec.h"

namespace mtm::load {
namespace {

absl::Status SetField(const std::string& key, const nlohmann::json& value, RequestKind& kind) {
  v1::GenerationParameters& parameters = *kind.request.mutable_parameters();
  if (key == "weight") {
    kind.weight = value.get<double>();
  } else if (key == "prompt_tokens") {
    kind.prompt_tokens = value.get<int>();
  } else if (key == "max_tokens") {
    parameters.set_max_tokens(value.get<int>());
  } else if (key == "sample_count") {
    parameters.set_sample_count(value.get<int>());
  } else if (key == "temperature") {
    parameters.mutable_sampling()->set_temperature(value.get<double>());
  } else if (key == "mode" && (value == "cached" || value == "exact")) {
    parameters.set_mode(value == "exact" ? v1::MODE_EXACT : v1::MODE_CACHED);
  } else if (key == "memories") {
    for (const std::string spec : value) {
      auto use = client::ParseMemoryUse(spec);
      if (!use.ok()) return use.status();
      *kind.request.add_memory_uses() = *std::move(use);
    }
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("no such setting of a request: ", key, " = ", value.dump()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<RequestKind> RequestKind::Parse(std::string_view text) {
  RequestKind kind;
  kind.request.mutable_parameters()->set_max_tokens(64);
  kind.request.mutable_parameters()->set_ignore_end_of_text(true);
  try {
    const nlohmann::json json = nlohmann::json::parse(text);
    if (!json.is_object()) return absl::InvalidArgumentError("a request must be a JSON object");
    for (const auto& [key, value] : json.items()) {
      const absl::Status status = SetField(key, value, kind);
      if (!status.ok()) return status;
    }
  } catch (const nlohmann::json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("in the request ", std::string(text), ": ", error.what()));
  }
  if (!(kind.weight > 0) || kind.prompt_tokens < 1) {
    return absl::InvalidArgumentError(absl::StrCat("weight must be above 0 and is ", kind.weight,
                                                   "; prompt_tokens must be at least 1 and is ",
                                                   kind.prompt_tokens));
  }
  return kind;
}

Workload::Workload(const std::vector<RequestKind>& kinds, const v1::Model& model, uint64_t seed)
    : kinds_(kinds), random_(seed), token_(0, model.vocabulary_size() - 1) {
  std::vector<double> weights;
  for (const RequestKind& kind : kinds) weights.push_back(kind.weight);
  choose_ = std::discrete_distribution<size_t>(weights.begin(), weights.end());
}

Workload::Draw Workload::Next() {
  Draw draw{.kind = choose_(random_)};
  const RequestKind& kind = kinds_[draw.kind];
  draw.request = kind.request;
  auto& ids = *draw.request.mutable_prompt_tokens()->mutable_ids();
  for (int i = 0; i < kind.prompt_tokens; ++i) ids.Add(token_(random_));
  return draw;
}

}  // namespace mtm::load
