// SPDX-License-Identifier: Apache-2.0
// Private to server/model: includes LibTorch.
#ifndef MTM_SERVER_MODEL_MEMORY_LAYER_H_
#define MTM_SERVER_MODEL_MEMORY_LAYER_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "server/model/memory_use.h"
#include "server/model/mix.h"
#include "server/model/selection.h"

namespace mtm {

// What a memory has changed in one layer of one sequence: the values V', and for each tokens-head looked up so far the
// value that it gets when it is selected. That depends on its own q, k, v and the memory only (METHOD 2), so it is
// kept until the row's input changes.
class MemoryLayer {
 public:
  // `layer` from 1; `use_index` is the use's place in its sequence.
  MemoryLayer(const MemoryUse& use, int use_index, int layer, int n_head, int capacity, int head_dim,
              c10::Device device, bool trace);

  // Queries and values of positions [first, n): new, or recomputed because their input changed.
  // query, value: [n_head, n - first, head_dim]
  void SetRows(int first, const at::Tensor& query, const at::Tensor& value);

  // Selects by the newest position's attention s [n_head, n] and brings V' up to date, from the key-value cache
  // [n_head, capacity, head_dim]. Returns the first position whose V' differs from the step before, n where none does.
  int Update(const at::Tensor& attention, const at::Tensor& key, const at::Tensor& value);

  // Forgets all rows.
  void Clear();

  const at::Tensor& queries() const { return query_; }        // [n_head, capacity, head_dim]
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

  int64_t Slot(const TokensHead& t) const { return int64_t{t.head} * capacity_ + t.position; }
  // Slots as an index tensor on the layer's device.
  at::Tensor SlotIndex(const std::vector<TokensHead>& tokens_heads) const;
  void LookUp(const std::vector<TokensHead>& missing, const at::Tensor& key, const at::Tensor& value);
  // Tokens-heads of one head: rows [count, head_dim] of each.
  void LookUpHead(int head, size_t count, const float* queries, const float* keys, const float* values, float* mixed,
                  Found* found) const;
  at::Tensor Rows(const at::Tensor& cache) const { return cache.view({int64_t{n_head_} * capacity_, head_dim_}); }

  std::shared_ptr<const Memory> memory_;
  MemoryParameters parameters_;
  int use_index_, layer_, n_head_, capacity_, head_dim_;
  bool trace_;

  at::Tensor query_;  // [n_head, capacity, head_dim]
  at::Tensor mixed_;  // [n_head, capacity, head_dim]: V'
  at::Tensor mixes_;  // [n_head, capacity, head_dim]: valid where known_
  std::vector<uint8_t> known_;        // [n_head * capacity]
  std::vector<TokensHead> selected_;  // in mixed_ now; by head, position
  std::vector<float> attention_;      // s of selected_, for the trace
  std::map<int64_t, Found> found_;    // by slot; only when tracing
};

}  // namespace mtm

#endif  // MTM_SERVER_MODEL_MEMORY_LAYER_H_
