// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_MODEL_SEQUENCE_H_
#define MTM_SERVER_MODEL_SEQUENCE_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "server/model/memory_use.h"
#include "server/model/model.h"

namespace mtm {

struct SequenceOptions {
  Mode mode = Mode::kCached;
  std::vector<MemoryUse> uses;      // valid for the model: layers in range and kept, disjoint
  int capacity = 0;                 // positions that it will hold at most; 1 .. n_ctx
  DataType cache = DataType::kF32;  // of keys, values and what a memory made of them; halves: on the CPU
  bool trace = false;               // collect trace()
  bool logits = true;               // false: only keys and values are wanted
  bool keep_prefix = false;         // PromptPrefix::Of is to be called after the prompt
};

// Bytes of the caches that a sequence makes at its first step.
int64_t CacheBytes(const ModelConfig& config, const SequenceOptions& options);

class PromptPrefix;

// One context: its tokens, its key-value cache and what its memories have changed in it. Not thread-safe.
class Sequence {
 public:
  // `model` outlives the sequence. The caches are made by the first Model::Step, whose error says where they
  // do not fit.
  Sequence(const Model& model, SequenceOptions options);
  ~Sequence();
  Sequence(const Sequence&) = delete;
  Sequence& operator=(const Sequence&) = delete;

  // A copy that goes its own way from here: it shares the caches until either runs its next step.
  std::unique_ptr<Sequence> Fork() const;

  // Takes over the first n tokens of a prompt that begins with the same ones, instead of running them below
  // the first memory: before the first step, n < length() <= capacity(), with as many LayersBelowMemory. On
  // the CPU what the sequence computes stays the same to the bit.
  void TakeOver(std::shared_ptr<const PromptPrefix> prefix, int n);

  // Tokens for the next Model::Step. In exact mode, past the capacity, the oldest are dropped (METHOD 3); in
  // cached mode the length must stay within it, and behind the prompt a sequence with uses takes one token a
  // step. Precondition: ids within the vocabulary.
  void Append(std::span<const int32_t> tokens);

  int length() const;  // tokens held, pending ones included
  int n_rows() const;  // that the next step runs at least, in the layers where it runs the most
  int capacity() const;
  std::span<const int32_t> tokens() const;  // [length]

  // Of the last step. [vocab_size], for the token after the last position.
  std::span<const float> logits() const;
  int64_t tokens_heads_changed() const;  // in all layers with a memory
  int64_t tokens_heads_total() const;
  std::chrono::nanoseconds memory_time() const;  // in selecting them, looking up and mixing
  // By layer, head, position; empty unless asked for.
  const std::vector<TraceEntry>& trace() const;

  // Copies keys and values of positions [first, length) of a layer (from 1) and head: [length - first,
  // head_dim]. All tokens have been run. Errors as Model::Step's.
  absl::Status CopyKeysValues(int layer, int head, int first, std::span<float> keys,
                              std::span<float> values) const;

  // Rows that the last step ran through each layer's block, of `length` rows in all: what exact mode saves.
  std::span<const int> rows_computed() const;  // [n_layer]

  struct State;  // LibTorch's side
  State& state() { return *state_; }

 private:
  explicit Sequence(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace mtm

#endif  // MTM_SERVER_MODEL_SEQUENCE_H_
