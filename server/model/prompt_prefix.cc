// SPDX-License-Identifier: Apache-2.0
#include "server/model/prompt_prefix.h"

#include <ATen/Functions.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <utility>

#include "server/model/prompt_prefix_state.h"
#include "server/model/torch_status.h"
#include "server/model/weights.h"

namespace mtm {

using at::Tensor;

int LayersBelowMemory(const ModelConfig& config, const std::vector<MemoryUse>& uses) {
  int lowest = config.n_layer + 1;
  for (const MemoryUse& use : uses) lowest = std::min(lowest, use.layers.front());
  return lowest - 1;
}

PromptPrefix::PromptPrefix() : state_(std::make_unique<State>()) {}
PromptPrefix::~PromptPrefix() = default;

absl::StatusOr<std::shared_ptr<const PromptPrefix>> PromptPrefix::Of(
    Sequence& sequence, std::shared_ptr<const PromptPrefix> parent, int n_inherited) {
  std::shared_ptr<PromptPrefix> prefix(new PromptPrefix);
  Sequence::State& s = sequence.state();
  prefix->tokens_ = s.tokens;
  prefix->n_layers_ = s.n_below_memory;
  prefix->bytes_per_token_ = BytesPerToken(s.weights->config, prefix->n_layers_, s.options.cache);
  prefix->n_inherited_ = n_inherited;
  prefix->parent_ = std::move(parent);
  State& state = *prefix->state_;
  const absl::Status status = TorchToStatus([&] {
    const c10::InferenceMode inference;
    const Tensor input = std::exchange(s.memory_input, Tensor());
    const int n = s.length() - n_inherited;
    const auto copy = [&](const Tensor& cache) {
      return cache.narrow(1, n_inherited, n).clone(at::MemoryFormat::Contiguous);
    };
    for (int layer = 0; layer < prefix->n_layers_; ++layer) {
      state.keys.push_back(copy(s.layers[layer].key));
      state.values.push_back(copy(s.layers[layer].value));
    }
    if (input.defined()) state.input = input.narrow(0, n_inherited, n).clone();
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return prefix;
}

int64_t PromptPrefix::BytesPerToken(const ModelConfig& config, int n_layers, DataType cache) {
  const size_t keys_values = 2 * static_cast<size_t>(n_layers) * ElementSize(cache),
               input = n_layers < config.n_layer ? sizeof(float) : 0;
  return static_cast<int64_t>(keys_values + input) * config.n_embd;
}

int64_t PromptPrefix::bytes() const {
  return (static_cast<int64_t>(tokens_.size()) - n_inherited_) * bytes_per_token_;
}

void CopyCaches(const PromptPrefix& prefix, int n, std::vector<LayerState>& layers) {
  const int first = prefix.n_inherited();
  if (prefix.parent() != nullptr) CopyCaches(*prefix.parent(), std::min(n, first), layers);
  if (n <= first) return;
  const auto copy = [&](const Tensor& rows, Tensor& cache) {
    cache.narrow(1, first, n - first).copy_(rows.narrow(1, 0, n - first));
  };
  const PromptPrefix::State& state = prefix.state();
  for (size_t layer = 0; layer < state.keys.size(); ++layer) {
    copy(state.keys[layer], layers[layer].key);
    copy(state.values[layer], layers[layer].value);
  }
}

void AppendInput(const PromptPrefix& prefix, int n, std::vector<Tensor>& parts) {
  const int first = prefix.n_inherited();
  if (prefix.parent() != nullptr) AppendInput(*prefix.parent(), std::min(n, first), parts);
  if (n > first) parts.push_back(prefix.state().input.narrow(0, 0, n - first));
}

}  // namespace mtm
