// SPDX-License-Identifier: Apache-2.0
#include "server/model/sequence.h"

#include <ATen/Functions.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <atomic>

#include "server/model/prompt_prefix_state.h"
#include "server/model/sequence_state.h"
#include "server/model/torch_status.h"
#include "server/model/unshare.h"
#include "server/model/weights.h"

namespace mtm {

using at::Tensor;

int64_t CacheBytes(const ModelConfig& config, const SequenceOptions& options) {
  // Allocate below: keys and values; with a memory V' and mixes, the queries, and in exact mode the layer's
  // input.
  int64_t n_with_memory = 0;
  for (const MemoryUse& use : options.uses) n_with_memory += static_cast<int64_t>(use.layers.size());
  const auto bytes = static_cast<int64_t>(ElementSize(options.cache));
  const int64_t layer = 2 * bytes, memory = 2 * bytes + (options.mode == Mode::kExact ? 2 : 1) * 4;
  return (layer * config.n_layer + memory * n_with_memory) * options.capacity * config.n_embd;
}

Sequence::Sequence(const Model& model, SequenceOptions options) : state_(std::make_unique<State>()) {
  state_->weights = &model.weights();
  state_->options = std::move(options);
  state_->n_below_memory = LayersBelowMemory(model.config(), state_->options.uses);
  state_->rows_computed.assign(model.config().n_layer, 0);
}

void Sequence::State::SetCachesId() {
  static std::atomic<uint64_t> last = 0;
  caches_id = ++last;
}

void Sequence::State::Allocate() {
  const ModelConfig& config = weights->config;
  const auto on_device = at::device(weights->device);
  const auto cache = on_device.dtype(options.cache == DataType::kF16 ? at::kHalf : at::kFloat);
  layers.resize(config.n_layer);
  for (LayerState& layer : layers) {
    const auto shape = {int64_t{config.n_head}, int64_t{options.capacity}, int64_t{config.head_dim()}};
    // A step on a device computes with the rows that are not there yet, and masks what comes of them.
    layer.key = weights->own_kernels ? at::empty(shape, cache) : at::zeros(shape, cache);
    layer.value = weights->own_kernels ? at::empty(shape, cache) : at::zeros(shape, cache);
  }
  for (size_t use = 0; use < options.uses.size(); ++use) {
    for (int number : options.uses[use].layers) {
      LayerState& layer = layers[number - 1];
      const MemoryUse& used = options.uses[use];
      if (weights->own_kernels) {
        layer.memory.emplace(used, static_cast<int>(use), number, config.n_head, options.capacity,
                             config.head_dim(), cache.dtype().toScalarType(), options.trace);
      } else {
        layer.device_memory.emplace(used, static_cast<int>(use), number,
                                    weights->stored_layers->Get(*used.memory, number), options.capacity,
                                    options.trace);
      }
      if (options.mode == Mode::kExact)
        layer.input = at::empty({options.capacity, config.n_embd}, on_device.dtype(at::kFloat));
    }
  }
  if (prefix != nullptr) CopyCaches(*prefix, n_computed, layers);
  SetCachesId();
}

void Sequence::State::OwnCaches() {
  if (layers.empty()) return Allocate();
  bool copied = false;
  for (LayerState& layer : layers) {
    for (Tensor* tensor : {&layer.key, &layer.value, &layer.input}) copied |= Unshare(*tensor);
    if (layer.memory) layer.memory->Unshare();
    if (layer.device_memory) copied |= layer.device_memory->Unshare();
  }
  if (copied) SetCachesId();
}

Sequence::Sequence(std::unique_ptr<State> state) : state_(std::move(state)) {}
Sequence::~Sequence() = default;

std::unique_ptr<Sequence> Sequence::Fork() const {
  return std::unique_ptr<Sequence>(new Sequence(std::make_unique<State>(*state_)));
}

void Sequence::TakeOver(std::shared_ptr<const PromptPrefix> prefix, int n) {
  state_->prefix = std::move(prefix);
  state_->n_computed = n;
}

void Sequence::Append(std::span<const int32_t> tokens) {
  State& s = *state_;
  s.tokens.insert(s.tokens.end(), tokens.begin(), tokens.end());
  const int excess = s.length() - s.options.capacity;
  if (excess <= 0) return;
  // Every position moves, and with it every embedding: nothing computed so far holds.
  s.tokens.erase(s.tokens.begin(), s.tokens.begin() + excess);
  s.n_computed = 0;
  s.prefix = nullptr;
  for (LayerState& layer : s.layers) {
    if (layer.memory) layer.memory->Clear();
  }
}

int Sequence::length() const { return state_->length(); }
int Sequence::n_rows() const {
  const State& s = *state_;
  const bool passes_on = s.prefix != nullptr && s.n_below_memory < s.weights->config.n_layer;
  return passes_on ? s.length() : s.length() - s.n_computed;
}
int Sequence::capacity() const { return state_->options.capacity; }
std::span<const int32_t> Sequence::tokens() const { return state_->tokens; }
std::span<const float> Sequence::logits() const { return state_->logits; }
int64_t Sequence::tokens_heads_changed() const { return state_->tokens_heads_changed; }
int64_t Sequence::tokens_heads_total() const { return state_->tokens_heads_total; }
std::chrono::nanoseconds Sequence::memory_time() const { return state_->memory_time; }
const std::vector<TraceEntry>& Sequence::trace() const { return state_->trace; }
std::span<const int> Sequence::rows_computed() const { return state_->rows_computed; }

absl::Status Sequence::CopyKeysValues(int layer, int head, int first, std::span<float> keys,
                                      std::span<float> values) const {
  return TorchToStatus([&] {
    const c10::InferenceMode inference;
    const LayerState& s = state_->layers[layer - 1];
    const auto copy = [&](const Tensor& cache, std::span<float> to) {
      const Tensor rows = cache.select(0, head)
                              .narrow(0, first, state_->n_computed - first)
                              .to(at::kCPU, at::kFloat)
                              .contiguous();
      std::copy_n(rows.const_data_ptr<float>(), rows.numel(), to.begin());
    };
    copy(s.key, keys);
    copy(s.value, values);
    return absl::OkStatus();
  });
}

}  // namespace mtm
