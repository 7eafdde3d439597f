// SPDX-License-Identifier: Apache-2.0
// Private to server/model: includes LibTorch. Attention of one layer: on the CPU by kernels of our own
// (attend_row.h), else by LibTorch's operations. Tensors are float32; caches [n_head, capacity, head_dim], on
// the CPU of halves too.
#ifndef MTM_SERVER_MODEL_ATTENTION_H_
#define MTM_SERVER_MODEL_ATTENTION_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "server/model/sequence_state.h"

namespace mtm {

// A sequence's rows in the batch, at the layer that is being run.
struct Rows {
  Sequence::State* sequence;
  int first;       // first position run
  int64_t offset;  // of that position in the packed rows
  int end() const { return sequence->length(); }
  int count() const { return end() - first; }
};

// [n, n_embd] -> [n_head, n, head_dim]
inline at::Tensor SplitHeads(const at::Tensor& rows, int n_head) {
  return rows.view({rows.size(0), n_head, rows.size(1) / n_head}).transpose(0, 1);
}

// s of METHOD 2: softmax(q K^T / sqrt(d)) of the newest row, [n_head, n]. query: [n_head, 1, head_dim].
at::Tensor LastRowAttentionOnCpu(const at::Tensor& query, const at::Tensor& cache, int n);
// keys: [n_head, n, head_dim]; mask: [n], added to the scores, or undefined.
at::Tensor LastRowAttentionByTorch(const at::Tensor& query, const at::Tensor& keys, const at::Tensor& mask);

// softmax(Q K^T / sqrt(d) + causal mask) V for rows [first, end) of one sequence, [end - first, n_embd].
// query: [n_head, end - first, head_dim]; key, value: caches.
at::Tensor AttendOnCpu(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, int first,
                       int end);
at::Tensor AttendByTorch(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, int first,
                         int end);

// AttendOnCpu of the newest row, from its LastRowAttentionOnCpu: the same bits.
at::Tensor AttendLastRowOnCpu(const at::Tensor& attention, const at::Tensor& value);

// A sequence's rows from `first` on in a layer with a memory.
struct MemoryRows {
  Sequence::State* sequence;
  LayerState* layer;
  int first;
  at::Tensor query, key, value;  // [n_head, count, head_dim]; the CPU reads keys from the cache
  at::Tensor attention;          // s of the newest row, [n_head, end]
  bool goes_back;                // is first_changed wanted? A device is waited for then.
  int first_changed;             // by the update: the first position whose V' differs from the step before
};

// Brings V' of the layers up to date. What they have to look up is looked up together.
void UpdateMemoriesOnCpu(std::vector<MemoryRows>& all);
void UpdateMemoriesByTorch(std::vector<MemoryRows>& all);

// Of a layer (index) whose sequences all run one row on the CPU, and no memory makes them run more: stores
// the rows' keys and values and attends, all sequences at once. qkv: [n, 3 n_embd]. Returns [n, n_embd].
at::Tensor AttendSteps(int index, std::span<const Rows> batch, int n_head, const at::Tensor& qkv);

}  // namespace mtm

#endif  // MTM_SERVER_MODEL_ATTENTION_H_
