// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/validate_memory.h"

#include <numeric>

#include "memory_store/memory_name.h"
#include "memory_store/memory_store.h"
#include "server/rpc/validate_uses.h"

namespace mtm {

MemoryPlan ReadMemorySpec(const v1::CreateMemoryRequest::Spec& spec, const ModelConfig& config,
                          FieldErrors& errors) {
  MemoryPlan plan;
  plan.name = spec.name();
  const absl::Status name = CheckMemoryName(spec.name());
  if (!name.ok()) errors.Add("spec.name", std::string(name.message()));
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
  const absl::Status status = ParseMemoryReference(reference).status();
  if (!status.ok()) errors.Add(field, std::string(status.message()));
}

}  // namespace mtm
