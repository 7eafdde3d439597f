// SPDX-License-Identifier: Apache-2.0
// The forward pass over a batch of sequences, each with the rows that it must recompute: one row for a plain
// or cached step, all rows from the first changed one in exact mode (METHOD 2 and 4). Products with the
// weights run over the rows of all sequences together; attention runs for each sequence by itself.
#include <ATen/Functions.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <chrono>
#include <limits>

#include "server/model/attention.h"
#include "server/model/cpu_cache.h"
#include "server/model/model.h"
#include "server/model/prompt_prefix_state.h"
#include "server/model/sequence.h"
#include "server/model/sequence_state.h"
#include "server/model/torch_status.h"
#include "server/model/weights.h"

namespace mtm {
namespace {

using at::Tensor;
using SequenceState = Sequence::State;

int64_t AssignOffsets(std::vector<Rows>& batch) {
  int64_t offset = 0;
  for (Rows& rows : batch) {
    rows.offset = offset;
    offset += rows.count();
  }
  return offset;
}

Tensor Concatenate(std::vector<Tensor> parts) {
  return parts.size() == 1 ? std::move(parts[0]) : at::cat(parts, 0);
}

// Runs one layer's attention for one sequence, whose queries, keys and values of `rows` are q, k, v
// [n_head, count, head_dim] and whose input rows are x. Moves rows.first down to the first row whose output
// changes. Returns the attention's output and leaves the residual rows in x.
Tensor AttendSequence(LayerState& layer, Rows& rows, Tensor q, const Tensor& k, const Tensor& v,
                      bool is_last_layer, Tensor& x) {
  SequenceState& s = *rows.sequence;
  const bool own_kernels = s.weights->own_kernels;
  const int first = rows.first, end = rows.end();
  if (own_kernels) {
    CpuCache(layer.key).WriteRows(first, k);
    CpuCache(layer.value).WriteRows(first, v);
  } else {
    layer.key.narrow(1, first, end - first).copy_(k);
    layer.value.narrow(1, first, end - first).copy_(v);
  }
  Tensor value = layer.value;
  Tensor attention;  // of the newest row, as soon as it is known

  if (layer.has_memory()) {
    if (layer.input.defined()) layer.input.narrow(0, first, end - first).copy_(x);
    const bool goes_back = s.options.mode == Mode::kExact && !is_last_layer;
    const Tensor newest = q.narrow(1, end - first - 1, 1);
    int first_changed = end;
    if (own_kernels) {
      attention = LastRowAttentionOnCpu(newest, layer.key, end);
      std::vector<MemoryRows> memory = {{&s, &layer, first, q, v, attention, end}};
      UpdateMemories(memory);
      first_changed = memory[0].first_changed;
      value = layer.memory->mixed_values();
    } else {
      const auto start = std::chrono::steady_clock::now();
      layer.device_memory->SetRows(first, q, k, v);
      layer.device_memory->Select(LastRowAttentionByTorch(newest, layer.key, end), layer.value);
      s.memory_time += std::chrono::steady_clock::now() - start;
      if (goes_back) first_changed = layer.device_memory->FirstChanged();
      value = layer.device_memory->mixed_values();
    }
    if (goes_back && first_changed < first) {
      rows.first = first_changed;
      const Tensor& queries = own_kernels ? layer.memory->queries() : layer.device_memory->queries();
      q = queries.narrow(1, first_changed, end - first_changed);
      x = layer.input.narrow(0, first_changed, end - first_changed).clone();  // the block adds to it
    }
  }
  if (is_last_layer) {  // nothing reads the other rows
    x = x.narrow(0, x.size(0) - 1, 1);
    q = q.narrow(1, q.size(1) - 1, 1);
    rows.first = end - 1;
  }
  if (!own_kernels) return AttendByTorch(q, layer.key, value, rows.first, end);
  if (rows.count() == 1 && attention.defined()) return AttendLastRowOnCpu(attention, value);
  return AttendOnCpu(q, layer.key, value, rows.first, end);
}

// Do all sequences run one row by the CPU's own kernels, and no memory can make them run more?
bool AreAllSteps(const std::vector<Rows>& batch, int index) {
  return std::ranges::all_of(batch, [index](const Rows& rows) {
    const LayerState& layer = rows.sequence->layers[static_cast<size_t>(index)];
    return rows.count() == 1 && rows.sequence->weights->own_kernels &&
           (!layer.memory || rows.sequence->options.mode == Mode::kCached);
  });
}

// Attention of all sequences in block `index`; x [rows, n_embd] is the block's input, and becomes the
// residual rows that go on. Returns the attention's output, [rows, n_embd].
Tensor AttendBatch(const Model::Weights& weights, int index, std::vector<Rows>& batch, Tensor& x) {
  const Block& block = weights.blocks[index];
  const int n_head = weights.config.n_head, d = weights.config.n_embd;
  const bool is_last_layer = index + 1 == weights.config.n_layer;
  const Tensor qkv = block.c_attn(block.ln_1(x));
  if (AreAllSteps(batch, index)) {
    for (Rows& rows : batch) rows.sequence->rows_computed[index] = 1;
    return AttendSteps(index, batch, n_head, qkv);
  }
  std::vector<Tensor> outputs, residuals;
  for (Rows& rows : batch) {
    const int64_t count = rows.count();
    const Tensor own = qkv.narrow(0, rows.offset, count);
    Tensor residual = x.narrow(0, rows.offset, count);
    outputs.push_back(AttendSequence(rows.sequence->layers[index], rows,
                                     SplitHeads(own.narrow(1, 0, d), n_head),
                                     SplitHeads(own.narrow(1, d, d), n_head),
                                     SplitHeads(own.narrow(1, 2 * d, d), n_head), is_last_layer, residual));
    residuals.push_back(residual);
    rows.sequence->rows_computed[index] = rows.count();
  }
  if (AssignOffsets(batch) != x.size(0) || is_last_layer) x = Concatenate(std::move(residuals));
  return Concatenate(std::move(outputs));
}

// Where block `index` has the first memory of sequences whose prompts are run: the rows that a prompt took
// over go on from here, in front of its own, and its rows are kept for others.
void PassOnPrefixes(int index, std::vector<Rows>& batch, Tensor& x) {
  const auto begins_here = [index](const Rows& rows) {
    const SequenceState& s = *rows.sequence;
    return (s.prefix != nullptr || s.options.keep_prefix) && s.n_below_memory == index;
  };
  if (std::ranges::none_of(batch, begins_here)) return;
  std::vector<Tensor> all;
  for (Rows& rows : batch) {
    SequenceState& s = *rows.sequence;
    std::vector<Tensor> own = {x.narrow(0, rows.offset, rows.count())};
    if (begins_here(rows)) {
      if (s.prefix != nullptr) {
        std::vector<Tensor> taken;
        AppendInput(*s.prefix, rows.first, taken);
        own.insert(own.begin(), taken.begin(), taken.end());
        rows.first = 0;
      }
      if (s.options.keep_prefix) s.memory_input = at::cat(own, 0);
    }
    all.insert(all.end(), own.begin(), own.end());
  }
  x = Concatenate(std::move(all));
  AssignOffsets(batch);
}

void RunBlock(const Model::Weights& weights, int index, std::vector<Rows>& batch, Tensor& x) {
  const Block& block = weights.blocks[index];
  PassOnPrefixes(index, batch, x);
  const Tensor attention = AttendBatch(weights, index, batch, x);
  block.c_proj.AddTo(attention, x);
  block.mlp_c_proj.AddTo(block.mlp_c_fc(block.ln_2(x)), x);
}

// Embeddings of all pending rows.
Tensor EmbedBatch(const Model::Weights& weights, const std::vector<Rows>& batch, int64_t n_rows) {
  const Tensor tokens = at::empty({n_rows}, at::kLong), positions = at::empty({n_rows}, at::kLong);
  int64_t* const token = tokens.mutable_data_ptr<int64_t>();
  int64_t* const position = positions.mutable_data_ptr<int64_t>();
  for (const Rows& rows : batch) {
    for (int i = 0; i < rows.count(); ++i) {
      token[rows.offset + i] = rows.sequence->tokens[rows.first + i];
      position[rows.offset + i] = rows.first + i;
    }
  }
  return weights.Embed(tokens.to(weights.device), positions.to(weights.device));
}

// x: the last row of each sequence, [n_sequences, n_embd].
void StoreLogits(const Model::Weights& weights, const std::vector<Rows>& batch, const Tensor& x) {
  const auto wants_logits = [](const Rows& rows) { return rows.sequence->options.logits; };
  if (std::none_of(batch.begin(), batch.end(), wants_logits)) return;
  const Tensor logits = weights.head(weights.ln_f(x)).to(at::kCPU).contiguous();
  for (size_t i = 0; i < batch.size(); ++i) {
    const float* const row = logits.const_data_ptr<float>() + i * weights.config.vocab_size;
    batch[i].sequence->logits.assign(row, row + weights.config.vocab_size);
  }
}

// What memories on a device changed in the last step, all of it fetched at once.
void CountOnDevice(const std::vector<Rows>& batch) {
  std::vector<Tensor> selected;
  std::vector<SequenceState*> of;
  for (const Rows& rows : batch) {
    for (const LayerState& layer : rows.sequence->layers) {
      if (!layer.device_memory) continue;
      selected.push_back(layer.device_memory->n_selected());
      of.push_back(rows.sequence);
      rows.sequence->tokens_heads_total += layer.device_memory->n_tokens_heads();
      if (rows.sequence->options.trace) layer.device_memory->AppendTrace(rows.sequence->trace);
    }
  }
  if (selected.empty()) return;
  const Tensor counts = at::stack(selected).to(at::kCPU);
  for (size_t i = 0; i < of.size(); ++i) of[i]->tokens_heads_changed += counts.const_data_ptr<int64_t>()[i];
}

std::vector<Rows> BeginStep(std::span<Sequence* const> sequences) {
  std::vector<Rows> batch;
  for (Sequence* sequence : sequences) {
    SequenceState& s = sequence->state();
    s.OwnCaches();
    s.tokens_heads_changed = s.tokens_heads_total = 0;
    s.memory_time = {};
    s.trace.clear();
    batch.push_back({&s, s.n_computed, 0});
  }
  return batch;
}

}  // namespace

struct ForwardPass::State {
  const Model::Weights& weights;
  std::vector<Sequence*> sequences;
  std::vector<Rows> batch;
  Tensor x;             // [rows, n_embd]: input of the next layer
  int next_layer = -1;  // index; -1: nothing was run yet
  bool done = false;

  void Begin() {
    batch = BeginStep(sequences);
    x = EmbedBatch(weights, batch, AssignOffsets(batch));
    next_layer = 0;
  }
  void End() {
    StoreLogits(weights, batch, x);
    CountOnDevice(batch);
    for (Rows& rows : batch) {
      rows.sequence->n_computed = rows.end();
      rows.sequence->prefix = nullptr;
      rows.sequence->options.keep_prefix = false;
    }
    x = Tensor();
    done = true;
  }
};

ForwardPass::ForwardPass(const Model& model, std::vector<Sequence*> sequences)
    : state_(new State{.weights = model.weights(), .sequences = std::move(sequences), .batch = {}, .x = {}}) {
}

ForwardPass::~ForwardPass() = default;

bool ForwardPass::done() const { return state_->done; }

absl::Status ForwardPass::Run(int64_t max_rows) {
  return TorchToStatus([&] {
    const c10::InferenceMode inference;
    State& s = *state_;
    if (s.sequences.empty()) s.done = true;
    if (s.done) return absl::OkStatus();
    if (s.next_layer < 0) s.Begin();
    int64_t rows = 0;
    do {
      RunBlock(s.weights, s.next_layer, s.batch, s.x);
      rows += s.x.size(0);
    } while (++s.next_layer < s.weights.config.n_layer && rows < max_rows);
    if (s.next_layer == s.weights.config.n_layer) s.End();
    return absl::OkStatus();
  });
}

absl::Status Model::Step(std::span<Sequence* const> sequences) const {
  return ForwardPass(*this, {sequences.begin(), sequences.end()}).Run(std::numeric_limits<int64_t>::max());
}

}  // namespace mtm
