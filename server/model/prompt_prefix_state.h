// SPDX-License-Identifier: Apache-2.0
// Private to server/model: includes LibTorch.
#ifndef MTM_SERVER_MODEL_PROMPT_PREFIX_STATE_H_
#define MTM_SERVER_MODEL_PROMPT_PREFIX_STATE_H_

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "server/model/prompt_prefix.h"
#include "server/model/sequence_state.h"

namespace mtm {

// Rows from position `first` on, those before it being the parent's.
struct PromptPrefix::State {
  const State* parent = nullptr;  // null: none
  int first = 0;
  std::vector<at::Tensor> keys, values;  // of each layer below the memory: [n_head, rows, head_dim]
  at::Tensor input;                      // of the layer above them, [rows, n_embd]; where a memory is there

  // Of positions [0, n), into the layers' caches.
  void CopyKeysValues(int n, std::vector<LayerState>& layers) const;
  // Appends those of positions [0, n), in order.
  void AppendInput(int n, std::vector<at::Tensor>& parts) const;
};

}  // namespace mtm

#endif  // MTM_SERVER_MODEL_PROMPT_PREFIX_STATE_H_
