// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_MODEL_PROMPT_PREFIX_H_
#define MTM_SERVER_MODEL_PROMPT_PREFIX_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "server/model/memory_use.h"
#include "server/model/model.h"

namespace mtm {

// Layers below the first one with a memory: all n_layer of the model where there is none.
int LayersBelowMemory(const ModelConfig& config, const std::vector<MemoryUse>& uses);

// What another prompt that begins with the same tokens can take over of one that was run: the keys and values
// in the layers below the first memory, which depend on the tokens alone, and the rows that go into the layer
// above them. What a prompt itself took over stays with its parent. Immutable.
class PromptPrefix {
 public:
  // Copies it from a sequence whose prompt, with SequenceOptions::keep_prefix, was its only step; `parent`
  // and `n_inherited` as it took them over. Errors as Model::Step's.
  static absl::StatusOr<std::shared_ptr<const PromptPrefix>> Of(
      Sequence& sequence, std::shared_ptr<const PromptPrefix> parent = nullptr, int n_inherited = 0);
  ~PromptPrefix();

  std::span<const int32_t> tokens() const { return tokens_; }
  int n_layers() const { return n_layers_; }  // LayersBelowMemory
  // That it took over its first n_inherited tokens from; null: none.
  const std::shared_ptr<const PromptPrefix>& parent() const { return parent_; }
  int n_inherited() const { return n_inherited_; }
  int64_t bytes() const;  // without its parent's
  static int64_t BytesPerToken(const ModelConfig& config, int n_layers, DataType cache);

  struct State;  // LibTorch's side
  const State& state() const { return *state_; }

 private:
  PromptPrefix();

  std::vector<int32_t> tokens_;
  int n_layers_ = 0;
  int64_t bytes_per_token_ = 0;
  std::shared_ptr<const PromptPrefix> parent_;
  int n_inherited_ = 0;
  std::unique_ptr<State> state_;
};

}  // namespace mtm

#endif  // MTM_SERVER_MODEL_PROMPT_PREFIX_H_
