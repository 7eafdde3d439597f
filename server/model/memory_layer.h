// SPDX-License-Identifier: Apache-2.0
// Private to server/model: includes LibTorch.
#ifndef MTM_SERVER_MODEL_MEMORY_LAYER_H_
#define MTM_SERVER_MODEL_MEMORY_LAYER_H_

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "memory_store/memory.h"
#include "server/model/memory_use.h"
#include "server/model/mix.h"
#include "server/model/selection.h"

namespace mtm {

// What a memory changed in one layer of one sequence: which tokens-heads are selected, V' in full, and the
// mix of every tokens-head that was ever looked up. A mix depends on the tokens-head's own q, k, v and the
// memory only (METHOD 2), so it is kept until the row's input changes. All tensors are on the CPU, those
// given too.
//
// An update has three parts, so that a step looks up what all its sequences miss together: Select, LookUp,
// Apply.
class MemoryLayer {
 public:
  // `layer` from 1; `use_index` is the use's place in its sequence; `cache`: the key-value cache's type.
  MemoryLayer(const MemoryUse& use, int use_index, int layer, int n_head, int capacity, int head_dim,
              at::ScalarType cache, bool trace);

  // Queries and values of positions [first, n): new, or recomputed because their input changed.
  // query, value: [n_head, n - first, head_dim], float32, rows of whole numbers side by side.
  void SetRows(int first, const at::Tensor& query, const at::Tensor& value);

  // Selects by the newest position's attention s [n_head, n].
  void Select(std::span<const float> attention);

  // One layer of the sequences of a step, and its key-value cache [n_head, capacity, head_dim].
  struct Missing {
    MemoryLayer* layer;
    at::Tensor key, value;
  };
  // Computes what the selected tokens-heads get that were not looked up before: one search for all that share
  // a memory, a layer, k and a head (or a few, where they are very many). Returns how many searches that
  // were.
  static int64_t LookUp(std::span<const Missing> all);
  size_t n_missing() const { return missing_.size(); }

  // Brings V' up to date; value: the cache. Returns the first position whose V' differs from the step before,
  // n where none does.
  int Apply(const at::Tensor& value);

  // Forgets all rows.
  void Clear();

  const at::Tensor& queries() const { return query_; }       // [n_head, capacity, head_dim]
  const at::Tensor& mixed_values() const { return mixed_; }  // V', [n_head, capacity, head_dim]
  size_t n_selected() const { return selected_.size(); }

  // Appends an entry for each selected tokens-head.
  void AppendTrace(std::vector<TraceEntry>& trace) const;

  // A copy shares its tensors with the original until this is called on both.
  void Unshare();

 private:
  struct Found {
    std::vector<Neighbour> neighbours;
    Mix mix;
  };
  // Tokens-heads of one head that are looked up together.
  struct Job;
  static void Run(Job& job);

  int64_t Slot(const TokensHead& t) const { return int64_t{t.head} * capacity_ + t.position; }

  std::shared_ptr<const Memory> memory_;
  MemoryParameters parameters_;
  int use_index_, layer_, n_head_, capacity_, head_dim_;
  bool trace_;

  at::Tensor query_;                  // [n_head, capacity, head_dim]
  at::Tensor mixed_;                  // [n_head, capacity, head_dim]: V', as the cache's type
  at::Tensor mixes_;                  // [n_head, capacity, head_dim]: valid where known_, of that type too
  std::vector<uint8_t> known_;        // [n_head * capacity]
  std::vector<TokensHead> selected_;  // by head, position
  std::vector<TokensHead> in_mixed_;  // whose mixes are in mixed_: selected_ of the step before
  std::vector<TokensHead> missing_;   // of selected_, not known_
  int n_ = 0;                         // positions of the last Select
  std::vector<float> attention_;      // s of selected_, for the trace
  std::map<int64_t, Found> found_;    // by slot; only when tracing
};

}  // namespace mtm

#endif  // MTM_SERVER_MODEL_MEMORY_LAYER_H_
