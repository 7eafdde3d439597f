// SPDX-License-Identifier: Apache-2.0
// The forward pass over a batch of sequences, each with the rows that it must recompute: one row for a plain
// or cached step, all rows from the first changed one in exact mode (METHOD 2 and 4). Products with the
// weights, and searches, run over the rows of all sequences together; attention runs for each by itself.
#include <ATen/Functions.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
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

// One sequence's part of a layer's attention.
struct Attending {
  Rows& rows;
  LayerState& layer;
  Tensor query, key, value;  // of the rows, [n_head, count, head_dim]
  Tensor residual;           // the rows' input; then of those rows whose output changes, [count, n_embd]
  Tensor attended;           // values, [n_head, capacity, head_dim]: the cache, or V'
  Tensor attention;          // of the newest row, where a memory is selected by it

  bool own_kernels() const { return rows.sequence->weights->own_kernels; }
};

void StoreKeysValues(const Attending& one) {
  const int first = one.rows.first, count = one.rows.count();
  if (one.own_kernels()) {
    CpuCache(one.layer.key).WriteRows(first, one.key);
    CpuCache(one.layer.value).WriteRows(first, one.value);
  } else {
    one.layer.key.narrow(1, first, count).copy_(one.key);
    one.layer.value.narrow(1, first, count).copy_(one.value);
  }
}

// Brings V' of the layer up to date for all who have a memory in it. In exact mode moves rows.first down to
// the first row whose output changes, and takes its query and residual from there on.
void ApplyMemories(std::vector<Attending>& all, bool is_last_layer) {
  std::vector<MemoryRows> memories;
  std::vector<Attending*> of;
  for (Attending& one : all) {
    if (!one.layer.has_memory()) continue;
    const int first = one.rows.first, end = one.rows.end(), count = one.rows.count();
    if (one.layer.input.defined()) one.layer.input.narrow(0, first, count).copy_(one.residual);
    const Tensor newest = one.query.narrow(1, count - 1, 1);
    one.attention = one.own_kernels() ? LastRowAttentionOnCpu(newest, one.layer.key, end)
                                      : LastRowAttentionByTorch(newest, one.layer.key.narrow(1, 0, end), {});
    const bool goes_back = one.rows.sequence->options.mode == Mode::kExact && !is_last_layer;
    memories.push_back(
        {one.rows.sequence, &one.layer, first, one.query, one.key, one.value, one.attention, goes_back, end});
    of.push_back(&one);
  }
  if (memories.empty()) return;
  const bool own_kernels = of[0]->own_kernels();  // a model's
  own_kernels ? UpdateMemoriesOnCpu(memories) : UpdateMemoriesByTorch(memories);
  for (size_t i = 0; i < of.size(); ++i) {
    Attending& one = *of[i];
    const LayerState& layer = one.layer;
    one.attended = own_kernels ? layer.memory->mixed_values() : layer.device_memory->mixed_values();
    const int first = memories[i].first_changed, end = one.rows.end();
    if (!memories[i].goes_back || first >= one.rows.first) continue;
    one.rows.first = first;
    const Tensor& queries = own_kernels ? layer.memory->queries() : layer.device_memory->queries();
    one.query = queries.narrow(1, first, end - first);
    one.residual = layer.input.narrow(0, first, end - first).clone();  // the block adds to it
  }
}

// [count, n_embd]
Tensor Attend(Attending& one, bool is_last_layer) {
  Rows& rows = one.rows;
  if (is_last_layer) {  // nothing reads the other rows
    one.residual = one.residual.narrow(0, one.residual.size(0) - 1, 1);
    one.query = one.query.narrow(1, one.query.size(1) - 1, 1);
    rows.first = rows.end() - 1;
  }
  if (!one.own_kernels())
    return AttendByTorch(one.query, one.layer.key, one.attended, rows.first, rows.end());
  if (rows.count() == 1 && one.attention.defined()) return AttendLastRowOnCpu(one.attention, one.attended);
  return AttendOnCpu(one.query, one.layer.key, one.attended, rows.first, rows.end());
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
  std::vector<Attending> all;
  for (Rows& rows : batch) {
    LayerState& layer = rows.sequence->layers[static_cast<size_t>(index)];
    const Tensor own = qkv.narrow(0, rows.offset, rows.count());
    const auto part = [&](int64_t which) { return SplitHeads(own.narrow(1, which * d, d), n_head); };
    all.push_back(
        {rows, layer, part(0), part(1), part(2), x.narrow(0, rows.offset, rows.count()), layer.value, {}});
    StoreKeysValues(all.back());
  }
  ApplyMemories(all, is_last_layer);
  std::vector<Tensor> outputs, residuals;
  for (Attending& one : all) {
    outputs.push_back(Attend(one, is_last_layer));
    residuals.push_back(one.residual);
    one.rows.sequence->rows_computed[index] = one.rows.count();
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
  PassOnPrefixes(index, batch, x);
  const Tensor attention = AttendBatch(weights, index, batch, x);  // and x may be of other rows now
  weights.blocks[index].Finish(attention, x);
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

// [n_sequences, vocab_size]
void StoreLogits(const std::vector<Rows>& batch, const Tensor& all) {
  const Tensor logits = all.to(at::kCPU).contiguous();
  const int64_t n = logits.size(1);
  for (size_t i = 0; i < batch.size(); ++i) {
    const float* const row = logits.const_data_ptr<float>() + static_cast<int64_t>(i) * n;
    batch[i].sequence->logits.assign(row, row + n);
  }
}

bool WantLogits(const std::vector<Rows>& batch) {
  return std::ranges::any_of(batch, [](const Rows& rows) { return rows.sequence->options.logits; });
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
      rows.sequence->tokens_heads_total += int64_t{rows.sequence->weights->config.n_head} * rows.end();
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
    next_layer = 0;
    if (weights.device_steps != nullptr && DeviceSteps::Takes(batch)) return RunOnDevice();
    x = EmbedBatch(weights, batch, AssignOffsets(batch));
  }
  void RunOnDevice() {
    StoreLogits(batch, weights.device_steps->Run(weights, batch));
    for (Rows& rows : batch) rows.sequence->rows_computed.assign(weights.blocks.size(), 1);
    End();
  }
  void End() {
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
  const absl::Status status = TorchToStatus([&] {
    const c10::InferenceMode inference;
    State& s = *state_;
    if (s.sequences.empty()) s.done = true;
    if (s.done) return absl::OkStatus();
    if (s.next_layer < 0) s.Begin();
    if (s.done) return absl::OkStatus();
    int64_t rows = 0;
    do {
      RunBlock(s.weights, s.next_layer, s.batch, s.x);
      rows += s.x.size(0);
    } while (++s.next_layer < s.weights.config.n_layer && rows < max_rows);
    if (s.next_layer < s.weights.config.n_layer) return absl::OkStatus();
    if (WantLogits(s.batch)) StoreLogits(s.batch, s.weights.head(s.weights.ln_f(s.x)));
    s.End();
    return absl::OkStatus();
  });
  const auto& recorded = state_->weights.device_steps;
  if (absl::IsResourceExhausted(status) && recorded != nullptr) recorded->Release();
  return status;
}

absl::Status Model::Step(std::span<Sequence* const> sequences) const {
  return ForwardPass(*this, {sequences.begin(), sequences.end()}).Run(std::numeric_limits<int64_t>::max());
}

}  // namespace mtm
