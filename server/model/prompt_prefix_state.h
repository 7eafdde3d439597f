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

// Rows from position n_inherited on, those before it being the parent's.
struct PromptPrefix::State {
  std::vector<at::Tensor> keys, values;  // of each layer below the memory: [n_head, rows, head_dim]
  at::Tensor input;                      // of the layer above them, [rows, n_embd]; where a memory is there
};

// Copies keys and values of positions [0, n) into the layers' caches.
void CopyCaches(const PromptPrefix& prefix, int n, std::vector<LayerState>& layers);

// Appends the input rows of positions [0, n), in order.
void AppendInput(const PromptPrefix& prefix, int n, std::vector<at::Tensor>& parts);

}  // namespace mtm

#endif  // MTM_SERVER_MODEL_PROMPT_PREFIX_STATE_H_
