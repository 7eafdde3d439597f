// SPDX-License-Identifier: Apache-2.0
// The forward pass over a batch of sequences, each with the rows that it must recompute: one row for a plain
// or cached step, all rows from the first changed one in exact mode (METHOD 2 and 4). Products with the
// weights run over the rows of all sequences together; attention runs for each sequence by itself.
#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "server/model/attend_row.h"
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

// Multiplications of scores that are worth a thread.
constexpr int64_t kAttentionWorkPerThread = 1 << 15;

// A sequence's rows in the batch, at the layer that is being run.
struct Rows {
  SequenceState* sequence;
  int first;       // first position run
  int64_t offset;  // of that position in the packed rows
  int end() const { return sequence->length(); }
  int count() const { return end() - first; }
};

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

// [n, n_embd] -> [n_head, n, head_dim]
Tensor SplitHeads(const Tensor& rows, int n_head) {
  return rows.view({rows.size(0), n_head, rows.size(1) / n_head}).transpose(0, 1);
}

// Added to the scores of rows [first, first + n_rows) over positions [0, first + n_rows): -inf where a row
// would see a later position.
Tensor CausalMask(int first, int n_rows, c10::Device device) {
  return at::full({n_rows, first + n_rows}, -std::numeric_limits<float>::infinity(),
                  at::device(device).dtype(at::kFloat))
      .triu_(first + 1);
}

// How many pieces of `work` multiplications each.
int64_t WorthAThread(int64_t work) { return std::max<int64_t>(1, kAttentionWorkPerThread / work); }

// Calls function(head) for all heads, of `work` multiplications each.
template <typename Function>
void ForEachHead(int64_t n_heads, int64_t work, Function function) {
  at::parallel_for(0, n_heads, WorthAThread(work), [&function](int64_t begin, int64_t end) {
    for (int64_t head = begin; head < end; ++head) function(head);
  });
}

// One head's rows of queries [n_head, rows, head_dim] on the CPU.
const float* HeadRows(const Tensor& queries, int64_t head) {
  return queries.const_data_ptr<float>() + head * queries.stride(0);
}

// s of METHOD 2: softmax(q K^T / sqrt(d)) of the newest row, [n_head, end]. query: [n_head, 1, head_dim];
// key: a cache, [n_head, capacity, head_dim].
Tensor LastRowAttention(const Tensor& query, const Tensor& key, int end) {
  const int64_t n_head = query.size(0), dim = query.size(2);
  if (!key.is_cpu()) {
    const Tensor scores = at::bmm(query, key.narrow(1, 0, end).transpose(1, 2)).squeeze(1);
    return at::softmax(scores.div_(std::sqrt(static_cast<double>(dim))), -1);
  }
  const CpuCache keys(key);
  const Tensor attention = at::empty({n_head, end}, query.options());
  ForEachHead(n_head, end * dim, [&](int64_t head) {
    RowAttention({HeadRows(query, head), static_cast<size_t>(dim)}, keys.Head(head),
                 {attention.mutable_data_ptr<float>() + head * end, static_cast<size_t>(end)});
  });
  return attention;
}

// Attend of the newest row, from its LastRowAttention, on the CPU: the same bits.
Tensor AttendLastRow(const Tensor& attention, const Tensor& value) {
  const int64_t n_head = attention.size(0), end = attention.size(1), dim = value.size(2);
  const CpuCache values(value);
  const Tensor out = at::empty({1, n_head * dim}, attention.options());
  ForEachHead(n_head, end * dim, [&](int64_t head) {
    AttendValues({attention.const_data_ptr<float>() + head * end, static_cast<size_t>(end)},
                 values.Head(head), {out.mutable_data_ptr<float>() + head * dim, static_cast<size_t>(dim)});
  });
  return out;
}

// Attend on the CPU.
Tensor AttendOnCpu(const Tensor& query, const Tensor& key, const Tensor& value, int first, int end) {
  const int64_t n_head = query.size(0), count = query.size(1), dim = query.size(2), d = n_head * dim;
  constexpr int64_t kTogether = kRowsTogether;
  const int64_t n_blocks = (count + kTogether - 1) / kTogether;
  const CpuCache keys(key), values(value);
  const Tensor out = at::empty({count, d}, query.options());
  const int64_t work = end * dim * std::min(count, kTogether);
  at::parallel_for(0, n_head * n_blocks, WorthAThread(work), [&](int64_t begin, int64_t stop) {
    std::vector<float> scratch(static_cast<size_t>(std::min(count, kTogether) * end));
    for (int64_t i = begin; i < stop; ++i) {
      // Later blocks see more keys: one from either end in turn, so that threads have equal shares.
      const int64_t head = i / n_blocks, turn = i % n_blocks;
      const int64_t row = (turn % 2 == 0 ? turn / 2 : n_blocks - 1 - turn / 2) * kTogether;
      AttendRows({.first = static_cast<size_t>(first + row),
                  .n = static_cast<size_t>(std::min(kTogether, count - row)),
                  .dim = static_cast<size_t>(dim),
                  .queries = HeadRows(query, head) + row * query.stride(1),
                  .keys = keys.Head(head),
                  .values = values.Head(head),
                  .out = out.mutable_data_ptr<float>() + row * d + head * dim,
                  .query_stride = static_cast<size_t>(query.stride(1)),
                  .out_stride = static_cast<size_t>(d)},
                 scratch);
    }
  });
  return out;
}

// softmax(Q K^T / sqrt(d) + causal mask) V for rows [first, end) of one sequence. query: [n_head, end -
// first, head_dim]; key, value: caches, [n_head, capacity, head_dim]. Returns [end - first, n_embd].
Tensor Attend(const Tensor& query, const Tensor& key, const Tensor& value, int first, int end) {
  if (key.is_cpu()) return AttendOnCpu(query, key, value, first, end);
  const bool is_square = first == 0, is_last_row = end - first == 1;
  const Tensor k = key.narrow(1, 0, end).unsqueeze(0), v = value.narrow(1, 0, end).unsqueeze(0);
  std::optional<Tensor> mask;
  if (!is_square && !is_last_row) mask = CausalMask(first, end - first, key.device());
  const Tensor out = at::scaled_dot_product_attention(query.unsqueeze(0), k, v, mask, /*dropout_p=*/0.0,
                                                      /*is_causal=*/is_square && !is_last_row);
  return out.squeeze(0).transpose(0, 1).reshape({end - first, query.size(0) * query.size(2)});
}

// A sequence's rows from `first` on in a layer with a memory.
struct MemoryRows {
  SequenceState* sequence;
  LayerState* layer;
  int first;
  Tensor query, value;  // [n_head, count, head_dim]
  Tensor attention;     // s of the newest row, [n_head, end]
  int first_changed;    // by UpdateMemories: the first position whose V' differs from the step before
};

// Brings V' of the layers up to date. What they have to look up is looked up together.
void UpdateMemories(std::vector<MemoryRows>& all) {
  using Clock = std::chrono::steady_clock;
  const auto for_each = [&all](const auto& function) {
    at::parallel_for(0, std::ssize(all), 1, [&](int64_t begin, int64_t end) {
      const c10::InferenceMode inference;  // is the thread's
      for (int64_t i = begin; i < end; ++i) {
        const auto start = Clock::now();
        MemoryRows& rows = all[static_cast<size_t>(i)];
        function(rows, *rows.layer->memory, static_cast<size_t>(i));
        rows.sequence->memory_time += Clock::now() - start;
      }
    });
  };
  std::vector<MemoryLayer::Missing> missing(all.size());
  for_each([&missing](MemoryRows& rows, MemoryLayer& memory, size_t i) {
    const Tensor s = rows.attention.to(at::kCPU).contiguous();
    memory.SetRows(rows.first, rows.query.to(at::kCPU), rows.value.to(at::kCPU));
    memory.Select({s.const_data_ptr<float>(), static_cast<size_t>(s.numel())});
    missing[i] = {&memory, rows.layer->key.to(at::kCPU), rows.layer->value.to(at::kCPU)};
  });

  const auto start = Clock::now();
  MemoryLayer::LookUp(missing);
  const auto time = Clock::now() - start;
  size_t n_missing = 0;
  for (const MemoryLayer::Missing& one : missing) n_missing += one.layer->n_missing();

  for_each([&](MemoryRows& rows, MemoryLayer& memory, size_t i) {
    rows.first_changed = memory.Apply(missing[i].value);
    SequenceState& s = *rows.sequence;
    if (n_missing > 0) s.memory_time += time * memory.n_missing() / n_missing;  // its share
    s.tokens_heads_changed += static_cast<int64_t>(memory.n_selected());
    s.tokens_heads_total += rows.attention.numel();
    if (s.options.trace) memory.AppendTrace(s.trace);
  });
}

// Runs one layer's attention for one sequence, whose queries, keys and values of `rows` are q, k, v
// [n_head, count, head_dim] and whose input rows are x. Moves rows.first down to the first row whose output
// changes. Returns the attention's output and leaves the residual rows in x.
Tensor AttendSequence(LayerState& layer, Rows& rows, Tensor q, const Tensor& k, const Tensor& v,
                      bool is_last_layer, Tensor& x) {
  SequenceState& s = *rows.sequence;
  const int first = rows.first, end = rows.end();
  layer.key.narrow(1, first, end - first).copy_(k);
  layer.value.narrow(1, first, end - first).copy_(v);
  Tensor value = layer.value;
  Tensor attention;  // of the newest row, as soon as it is known

  if (layer.memory) {
    if (layer.input.defined()) layer.input.narrow(0, first, end - first).copy_(x);
    attention = LastRowAttention(q.narrow(1, end - first - 1, 1), layer.key, end);
    std::vector<MemoryRows> memory = {{&s, &layer, first, q, v, attention, end}};
    UpdateMemories(memory);
    value = layer.memory->mixed_values().to(layer.value.device());
    const int first_changed = memory[0].first_changed;
    if (s.options.mode == Mode::kExact && first_changed < first && !is_last_layer) {
      rows.first = first_changed;
      q = layer.memory->queries().narrow(1, first_changed, end - first_changed).to(q.device());
      x = layer.input.narrow(0, first_changed, end - first_changed).clone();  // the block adds to it
    }
  }
  if (is_last_layer) {  // nothing reads the other rows
    x = x.narrow(0, x.size(0) - 1, 1);
    q = q.narrow(1, q.size(1) - 1, 1);
    rows.first = end - 1;
  }
  if (rows.count() == 1 && attention.defined() && value.is_cpu()) return AttendLastRow(attention, value);
  return Attend(q, layer.key, value, rows.first, end);
}

// Do all sequences run one row on the CPU, and no memory can make them run more?
bool AreAllSteps(const std::vector<Rows>& batch, int index) {
  return std::ranges::all_of(batch, [index](const Rows& rows) {
    const LayerState& layer = rows.sequence->layers[static_cast<size_t>(index)];
    return rows.count() == 1 && layer.key.is_cpu() &&
           (!layer.memory || rows.sequence->options.mode == Mode::kCached);
  });
}

// AttendSequence for sequences of which AreAllSteps holds, all at once. qkv: [n, 3 n_embd].
Tensor AttendSteps(int index, const std::vector<Rows>& batch, int n_head, const Tensor& qkv) {
  const int64_t n = qkv.size(0), d = qkv.size(1) / 3, dim = d / n_head;
  struct Step {
    LayerState* layer;
    int position;   // of the row
    int64_t begin;  // of its attention, [n_head, end]
    CpuCache keys, values;
    int end() const { return position + 1; }
  };
  std::vector<Step> steps;
  int64_t length = 0;
  for (const Rows& rows : batch) {
    LayerState& layer = rows.sequence->layers[static_cast<size_t>(index)];
    steps.push_back({.layer = &layer,
                     .position = rows.first,
                     .begin = length * n_head,
                     .keys = CpuCache(layer.key),
                     .values = CpuCache(layer.value)});
    length += rows.end();
  }
  const Tensor out = at::empty({n, d}, qkv.options()),
               attention = at::empty({length * n_head}, qkv.options());
  const float* const inputs = qkv.const_data_ptr<float>();
  float *const outputs = out.mutable_data_ptr<float>(), *const s = attention.mutable_data_ptr<float>();
  // function(step, its place, head)
  const auto for_each = [&](const auto& function) {
    ForEachHead(n * n_head, std::max<int64_t>(1, length * dim / n),
                [&](int64_t i) { function(steps[static_cast<size_t>(i / n_head)], i / n_head, i % n_head); });
  };
  const auto attention_row = [&](const Step& step, int64_t head) {
    return std::span(s + step.begin + head * step.end(), static_cast<size_t>(step.end()));
  };
  const auto attend_values = [&](const Step& step, int64_t i, int64_t head, const CachedRows& values) {
    AttendValues(attention_row(step, head), values, {outputs + i * d + head * dim, static_cast<size_t>(dim)});
  };

  for_each([&](const Step& step, int64_t i, int64_t head) {
    const float* const query = inputs + i * 3 * d + head * dim;
    step.keys.Write(head, step.position, query + d);
    step.values.Write(head, step.position, query + 2 * d);
    RowAttention({query, static_cast<size_t>(dim)}, step.keys.Head(head), attention_row(step, head));
    if (!step.layer->memory) attend_values(step, i, head, step.values.Head(head));
  });
  std::vector<MemoryRows> with_memory;
  for (int64_t i = 0; i < n; ++i) {
    const Step& step = steps[static_cast<size_t>(i)];
    if (!step.layer->memory) continue;
    const auto part = [&](int64_t which) {
      return SplitHeads(qkv.narrow(0, i, 1).narrow(1, which * d, d), n_head);
    };
    const Tensor own =
        attention.narrow(0, step.begin, int64_t{step.end()} * n_head).view({n_head, step.end()});
    with_memory.push_back({batch[static_cast<size_t>(i)].sequence, step.layer, step.position, part(0),
                           part(2), own, step.end()});
  }
  if (with_memory.empty()) return out;
  UpdateMemories(with_memory);
  for_each([&](const Step& step, int64_t i, int64_t head) {
    if (!step.layer->memory) return;
    attend_values(step, i, head, CpuCache(step.layer->memory->mixed_values()).Head(head));
  });
  return out;
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
