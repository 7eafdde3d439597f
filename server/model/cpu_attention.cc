// SPDX-License-Identifier: Apache-2.0
#include <ATen/Functions.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>

#include "server/model/attend_row.h"
#include "server/model/attention.h"
#include "server/model/cpu_cache.h"

namespace mtm {

using at::Tensor;

namespace {

// Multiplications of scores that are worth a thread.
constexpr int64_t kAttentionWorkPerThread = 1 << 15;

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

}  // namespace

Tensor LastRowAttentionOnCpu(const Tensor& query, const Tensor& key, int end) {
  const int64_t n_head = query.size(0), dim = query.size(2);
  const CpuCache keys(key);
  const Tensor attention = at::empty({n_head, end}, query.options());
  ForEachHead(n_head, end * dim, [&](int64_t head) {
    RowAttention({HeadRows(query, head), static_cast<size_t>(dim)}, keys.Head(head),
                 {attention.mutable_data_ptr<float>() + head * end, static_cast<size_t>(end)});
  });
  return attention;
}

Tensor AttendLastRowOnCpu(const Tensor& attention, const Tensor& value) {
  const int64_t n_head = attention.size(0), end = attention.size(1), dim = value.size(2);
  const CpuCache values(value);
  const Tensor out = at::empty({1, n_head * dim}, attention.options());
  ForEachHead(n_head, end * dim, [&](int64_t head) {
    AttendValues({attention.const_data_ptr<float>() + head * end, static_cast<size_t>(end)},
                 values.Head(head), {out.mutable_data_ptr<float>() + head * dim, static_cast<size_t>(dim)});
  });
  return out;
}

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

void UpdateMemoriesOnCpu(std::vector<MemoryRows>& all) {
  using Clock = std::chrono::steady_clock;
  const auto for_each = [&all](const auto& function) {
    at::parallel_for(0, std::ssize(all), 1, [&](int64_t begin, int64_t end) {
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
    memory.SetRows(rows.first, rows.query, rows.value);
    memory.Select({rows.attention.const_data_ptr<float>(), static_cast<size_t>(rows.attention.numel())});
    missing[i] = {&memory, rows.layer->key, rows.layer->value};
  });

  const auto start = Clock::now();
  MemoryLayer::LookUp(missing);
  const auto time = Clock::now() - start;
  size_t n_missing = 0;
  for (const MemoryLayer::Missing& one : missing) n_missing += one.layer->n_missing();

  for_each([&](MemoryRows& rows, MemoryLayer& memory, size_t) {
    rows.first_changed = memory.Apply(rows.layer->value);
    Sequence::State& s = *rows.sequence;
    if (n_missing > 0) s.memory_time += time * memory.n_missing() / n_missing;  // its share
    s.tokens_heads_changed += static_cast<int64_t>(memory.n_selected());
    s.tokens_heads_total += rows.attention.numel();
    if (s.options.trace) memory.AppendTrace(s.trace);
  });
}

Tensor AttendSteps(int index, std::span<const Rows> batch, int n_head, const Tensor& qkv) {
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
    with_memory.push_back({.sequence = batch[static_cast<size_t>(i)].sequence,
                           .layer = step.layer,
                           .first = step.position,
                           .query = part(0),
                           .key = {},
                           .value = part(2),
                           .attention = own,
                           .goes_back = false,
                           .first_changed = step.end()});
  }
  if (with_memory.empty()) return out;
  UpdateMemoriesOnCpu(with_memory);
  for_each([&](const Step& step, int64_t i, int64_t head) {
    if (!step.layer->memory) return;
    attend_values(step, i, head, CpuCache(step.layer->memory->mixed_values()).Head(head));
  });
  return out;
}

}  // namespace mtm
