// SPDX-License-Identifier: Apache-2.0
// Private to server/model: includes LibTorch.
#ifndef MTM_SERVER_MODEL_SEQUENCE_STATE_H_
#define MTM_SERVER_MODEL_SEQUENCE_STATE_H_

#include <ATen/core/Tensor.h>

#include <chrono>
#include <optional>
#include <vector>

#include "server/model/device_memory.h"
#include "server/model/memory_layer.h"
#include "server/model/prompt_prefix.h"
#include "server/model/sequence.h"

namespace mtm {

// What a sequence keeps of one layer.
struct LayerState {
  at::Tensor key, value;  // the key-value cache, [n_head, capacity, head_dim]
  // Where a memory is active: the first with the CPU's own kernels, else the second.
  std::optional<MemoryLayer> memory;
  std::optional<DeviceMemoryLayer> device_memory;
  at::Tensor input;  // [capacity, n_embd], rows of the layer's input: exact mode, with a memory

  bool has_memory() const { return memory || device_memory; }
};

struct Sequence::State {
  const Model::Weights* weights;
  SequenceOptions options;
  int n_below_memory = 0;  // LayersBelowMemory
  std::vector<int32_t> tokens;
  int n_computed = 0;              // leading tokens that the caches hold
  std::vector<LayerState> layers;  // empty until the first step
  uint64_t caches_id = 0;          // of the tensors in `layers`, as SetCachesId says

  // Until the prompt was run: what rows [0, n_computed) come from.
  std::shared_ptr<const PromptPrefix> prefix;
  // With keep_prefix, after the prompt: the input of the first layer with a memory, [length, n_embd].
  at::Tensor memory_input;

  // Of the last step.
  std::vector<float> logits;
  int64_t tokens_heads_changed = 0, tokens_heads_total = 0;
  std::chrono::nanoseconds memory_time{0};
  std::vector<TraceEntry> trace;
  std::vector<int> rows_computed;

  int length() const { return static_cast<int>(tokens.size()); }

  // Before a step writes into the caches: makes them, or makes those of a fork its own. Throws as LibTorch
  // does.
  void OwnCaches();

  // After other tensors took the place of some in `layers`: an id that nothing had before.
  void SetCachesId();

 private:
  void Allocate();
};

}  // namespace mtm

#endif  // MTM_SERVER_MODEL_SEQUENCE_STATE_H_
