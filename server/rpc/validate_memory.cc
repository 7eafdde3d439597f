// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/validate_memory.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "memory_store/memory_store.h"
#include "server/rpc/validate_uses.h"

namespace mtm {
namespace {

constexpr size_t kMinDigest = 8;
constexpr size_t kMaxDigest = 64;

bool IsDigest(std::string_view text) {
  return text.size() >= kMinDigest && text.size() <= kMaxDigest &&
         text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

void CheckName(const std::string& field, std::string_view name, FieldErrors& errors) {
  if (name.empty()) {
    errors.Add(field, "is missing; must be a memory's name");
    return;
  }
  const absl::Status status = CheckMemoryName(name);
  if (!status.ok()) errors.Add(field, std::string(status.message()));
}

}  // namespace

MemoryPlan ReadMemorySpec(const v1::CreateMemoryRequest::Spec& spec, const ModelConfig& config,
                          FieldErrors& errors) {
  MemoryPlan plan;
  plan.name = spec.name();
  CheckName("spec.name", spec.name(), errors);
  if (spec.layers().empty()) {
    plan.layers.resize(config.n_layer);
    std::iota(plan.layers.begin(), plan.layers.end(), 1);
  } else {
    plan.layers = ReadLayers("spec.layers", spec.layers(), config.n_layer, errors);
  }
  if (spec.has_dropped_token_count()) {
    plan.dropped = spec.dropped_token_count();
    CheckNumber("spec.dropped_token_count", spec.dropped_token_count(),
                Range{.low = 0, .high = static_cast<double>(config.n_ctx - 1)}, errors);
  }
  if (spec.has_leading_newline()) plan.leading_newline = spec.leading_newline();
  return plan;
}

void CheckMemoryReference(const std::string& field, std::string_view reference, FieldErrors& errors) {
  const size_t at = reference.find('@');
  CheckName(field, reference.substr(0, at), errors);
  if (at == std::string_view::npos || IsDigest(reference.substr(at + 1))) return;
  errors.Add(field, "what follows @ is no digest; must be 8 to 64 digits of 0-9a-f");
}

}  // namespace mtm
