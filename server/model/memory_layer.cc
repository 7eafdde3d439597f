// SPDX-License-Identifier: Apache-2.0
#include "server/model/memory_layer.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "server/model/cpu_cache.h"
#include "server/model/unshare.h"

namespace mtm {

using at::Tensor;

namespace {

// Rows that a thread looks up at once: enough for a product of matrices, few enough for all threads to have
// some.
constexpr size_t kRowsAJob = 256;

// Bounds what a job with a large k holds: 4 MiB, and 16 while an index is searched.
constexpr size_t kMaxNeighbours = size_t{1} << 18;

// What is searched at once. Each request has a Memory of its own of the segments that all of them share.
struct Searched {
  const Memory* memory;
  int layer, k, head;

  friend bool operator<(const Searched& a, const Searched& b) {
    return std::tie(a.memory->segments(), a.layer, a.k, a.head) <
           std::tie(b.memory->segments(), b.layer, b.k, b.head);
  }
};

}  // namespace

struct MemoryLayer::Job {
  struct Row {
    const Missing* of;
    TokensHead tokens_head;
  };
  std::vector<Row> rows;
  std::vector<Found> found;  // of each, for the traces
};

MemoryLayer::MemoryLayer(const MemoryUse& use, int use_index, int layer, int n_head, int capacity,
                         int head_dim, at::ScalarType cache, bool trace)
    : memory_(use.memory),
      parameters_(use.parameters),
      use_index_(use_index),
      layer_(layer),
      n_head_(n_head),
      capacity_(capacity),
      head_dim_(head_dim),
      trace_(trace),
      query_(at::empty({n_head, capacity, head_dim}, at::kFloat)),
      mixed_(at::empty({n_head, capacity, head_dim}, cache)),
      mixes_(at::empty_like(mixed_)),
      known_(static_cast<size_t>(n_head) * static_cast<size_t>(capacity), 0) {}

void MemoryLayer::SetRows(int first, const Tensor& query, const Tensor& value) {
  CpuCache(query_).WriteRows(first, query);
  CpuCache(mixed_).WriteRows(first, value);
  for (int head = 0; head < n_head_; ++head) {
    std::fill_n(known_.begin() + Slot({head, first}), query.size(1), uint8_t{0});
  }
  std::erase_if(in_mixed_, [&](const TokensHead& t) { return t.position >= first; });
}

void MemoryLayer::Select(std::span<const float> attention) {
  n_ = static_cast<int>(attention.size() / static_cast<size_t>(n_head_));
  selected_ = SelectTokensHeads(attention, n_head_, n_, parameters_);
  missing_.clear();
  std::ranges::copy_if(selected_, std::back_inserter(missing_),
                       [this](const TokensHead& t) { return known_[static_cast<size_t>(Slot(t))] == 0; });
  if (!trace_) return;
  attention_.clear();
  for (const TokensHead& t : selected_) {
    attention_.push_back(
        attention[static_cast<size_t>(t.head) * static_cast<size_t>(n_) + static_cast<size_t>(t.position)]);
  }
}

int64_t MemoryLayer::LookUp(std::span<const Missing> all) {
  std::map<Searched, std::vector<Job::Row>> rows;
  for (const Missing& one : all) {
    const MemoryLayer& layer = *one.layer;
    for (const TokensHead& t : layer.missing_) {
      rows[{layer.memory_.get(), layer.layer_, layer.parameters_.k, t.head}].push_back({&one, t});
    }
  }
  std::vector<Job> jobs;
  for (const auto& [searched, of_head] : rows) {
    const size_t per_row =
        std::min(static_cast<size_t>(searched.k), static_cast<size_t>(searched.memory->n_tokens()));
    const size_t at_once = std::clamp<size_t>(kMaxNeighbours / per_row, 1, kRowsAJob);
    for (size_t first = 0; first < of_head.size(); first += at_once) {
      const auto begin = of_head.begin() + static_cast<std::ptrdiff_t>(first);
      const size_t n = std::min(at_once, of_head.size() - first);
      jobs.push_back({.rows = {begin, begin + static_cast<std::ptrdiff_t>(n)}, .found = {}});
    }
  }
  at::parallel_for(0, std::ssize(jobs), 1, [&jobs](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) Run(jobs[static_cast<size_t>(i)]);
  });
  for (Job& job : jobs) {
    for (size_t i = 0; i < job.rows.size(); ++i) {
      MemoryLayer& layer = *job.rows[i].of->layer;
      if (layer.trace_) layer.found_[layer.Slot(job.rows[i].tokens_head)] = std::move(job.found[i]);
    }
  }
  return std::ssize(jobs);
}

// METHOD 2: Search, Rank, Mix.
void MemoryLayer::Run(Job& job) {
  const MemoryLayer& any = *job.rows.front().of->layer;
  const Memory& memory = *any.memory_;
  const int head = job.rows.front().tokens_head.head, k = any.parameters_.k;
  const auto d = static_cast<size_t>(any.head_dim_);
  const size_t n = job.rows.size(),
               per_row = std::min(static_cast<size_t>(k), static_cast<size_t>(memory.n_tokens()));
  std::vector<float> keys(n * d);
  for (size_t i = 0; i < n; ++i) {
    CpuCache(job.rows[i].of->key).Read(head, job.rows[i].tokens_head.position, &keys[i * d]);
  }
  const std::vector<Neighbour> neighbours = memory.Search(any.layer_, head, keys, k);

  std::vector<float> found_keys(per_row * d), found_values(per_row * d), query(d), value(d), mixed(d);
  job.found.resize(n);
  for (size_t i = 0; i < n; ++i) {
    const auto& [of, tokens_head] = job.rows[i];
    MemoryLayer& layer = *of->layer;
    const std::span<const Neighbour> near(&neighbours[i * per_row], per_row);
    memory.Gather(any.layer_, head, near, found_keys, found_values);
    CpuCache(layer.query_).Read(head, tokens_head.position, query.data());
    CpuCache(of->value).Read(head, tokens_head.position, value.data());
    Mix mix =
        RankAndMix(layer.parameters_, {query, {&keys[i * d], d}, value}, found_keys, found_values, mixed);
    CpuCache(layer.mixes_).Write(head, tokens_head.position, mixed.data());
    layer.known_[static_cast<size_t>(layer.Slot(tokens_head))] = 1;
    if (layer.trace_) job.found[i] = {{near.begin(), near.end()}, std::move(mix)};
  }
}

int MemoryLayer::Apply(const Tensor& value) {
  const CpuCache mixed(mixed_), mixes(mixes_), values(value);
  int first_changed = n_;
  const auto set = [&](const CpuCache& source, const TokensHead& t) {
    mixed.Copy(source, t.head, t.position);
    first_changed = std::min(first_changed, t.position);
  };
  auto old = in_mixed_.begin();
  auto now = selected_.begin();
  while (old != in_mixed_.end() || now != selected_.end()) {
    if (now == selected_.end() || (old != in_mixed_.end() && *old < *now)) {
      set(values, *old++);
    } else if (old == in_mixed_.end() || *now < *old) {
      set(mixes, *now++);
    } else {
      ++old, ++now;
    }
  }
  in_mixed_ = selected_;
  return first_changed;
}

void MemoryLayer::Clear() {
  std::ranges::fill(known_, uint8_t{0});
  in_mixed_.clear();
  found_.clear();
}

void MemoryLayer::AppendTrace(std::vector<TraceEntry>& trace) const {
  for (size_t i = 0; i < selected_.size(); ++i) {
    const Found& found = found_.at(Slot(selected_[i]));
    trace.push_back({.layer = layer_,
                     .head = selected_[i].head,
                     .position = selected_[i].position,
                     .attention = attention_[i],
                     .own_weight = found.mix.own_weight,
                     .neighbours = found.neighbours,
                     .weights = found.mix.weights,
                     .use = use_index_});
  }
}

void MemoryLayer::Unshare() {
  for (Tensor* tensor : {&query_, &mixed_, &mixes_}) mtm::Unshare(*tensor);
}

}  // namespace mtm
