// SPDX-License-Identifier: Apache-2.0
#include "server/model/memory_layer.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <iterator>

#include "server/model/unshare.h"

namespace mtm {

using at::Tensor;

// Bounds what a search of many tokens-heads with a large k holds at a time: 16 MiB.
constexpr size_t kMaxNeighboursAtOnce = size_t{1} << 20;

MemoryLayer::MemoryLayer(const MemoryUse& use, int use_index, int layer, int n_head, int capacity,
                         int head_dim, c10::Device device, bool trace)
    : memory_(use.memory),
      parameters_(use.parameters),
      use_index_(use_index),
      layer_(layer),
      n_head_(n_head),
      capacity_(capacity),
      head_dim_(head_dim),
      trace_(trace),
      query_(at::empty({n_head, capacity, head_dim}, at::device(device).dtype(at::kFloat))),
      mixed_(at::empty_like(query_)),
      mixes_(at::empty_like(query_)),
      known_(size_t(n_head) * capacity, 0) {}

void MemoryLayer::SetRows(int first, const Tensor& query, const Tensor& value) {
  const int64_t count = query.size(1);
  query_.narrow(1, first, count).copy_(query);
  mixed_.narrow(1, first, count).copy_(value);
  for (int head = 0; head < n_head_; ++head) {
    std::fill_n(known_.begin() + Slot({head, first}), count, uint8_t{0});
  }
  std::erase_if(selected_, [&](const TokensHead& t) { return t.position >= first; });
}

int MemoryLayer::Update(const Tensor& attention, const Tensor& key, const Tensor& value) {
  const int n = static_cast<int>(attention.size(1));
  const Tensor s = attention.to(at::kCPU).contiguous();
  const std::span<const float> s_span(s.const_data_ptr<float>(), size_t(s.numel()));
  std::vector<TokensHead> selected = SelectTokensHeads(s_span, n_head_, n, parameters_);

  std::vector<TokensHead> missing, added, removed;
  std::copy_if(selected.begin(), selected.end(), std::back_inserter(missing),
               [&](const TokensHead& t) { return !known_[Slot(t)]; });
  if (!missing.empty()) LookUp(missing, key, value);
  std::set_difference(selected.begin(), selected.end(), selected_.begin(), selected_.end(),
                      std::back_inserter(added));
  std::set_difference(selected_.begin(), selected_.end(), selected.begin(), selected.end(),
                      std::back_inserter(removed));

  int first_changed = n;
  const auto set_values = [&](const std::vector<TokensHead>& changed, const Tensor& source) {
    if (changed.empty()) return;
    const Tensor index = SlotIndex(changed);
    Rows(mixed_).index_copy_(0, index, Rows(source).index_select(0, index));
    for (const TokensHead& t : changed) first_changed = std::min(first_changed, t.position);
  };
  set_values(removed, value);
  set_values(added, mixes_);

  selected_ = std::move(selected);
  if (trace_) {
    attention_.clear();
    for (const TokensHead& t : selected_) attention_.push_back(s_span[size_t(t.head) * n + t.position]);
  }
  return first_changed;
}

void MemoryLayer::Clear() {
  std::fill(known_.begin(), known_.end(), uint8_t{0});
  selected_.clear();
  found_.clear();
}

Tensor MemoryLayer::SlotIndex(const std::vector<TokensHead>& tokens_heads) const {
  Tensor index = at::empty({int64_t(tokens_heads.size())}, at::kLong);
  int64_t* const slots = index.mutable_data_ptr<int64_t>();
  for (size_t i = 0; i < tokens_heads.size(); ++i) slots[i] = Slot(tokens_heads[i]);
  return index.to(mixed_.device());
}

// Computes the value that each of the missing tokens-heads gets (METHOD 2: Search, Rank, Mix).
void MemoryLayer::LookUp(const std::vector<TokensHead>& missing, const Tensor& key, const Tensor& value) {
  const Tensor index = SlotIndex(missing);
  const auto gather = [&](const Tensor& cache) { return Rows(cache).index_select(0, index).to(at::kCPU); };
  const Tensor queries = gather(query_), keys = gather(key), values = gather(value);
  Tensor mixed = at::empty_like(keys);
  std::vector<Found> found(missing.size());

  // Missing ones are sorted by head; each head is searched in one call, heads in parallel.
  std::vector<size_t> head_begin(n_head_ + 1, missing.size());
  for (size_t i = missing.size(); i-- > 0;) head_begin[missing[i].head] = i;
  for (int head = n_head_; head-- > 0;) head_begin[head] = std::min(head_begin[head], head_begin[head + 1]);
  at::parallel_for(0, n_head_, 1, [&](int64_t begin, int64_t end) {
    for (int64_t head = begin; head < end; ++head) {
      const size_t first = head_begin[head], count = head_begin[head + 1] - first;
      if (count == 0) continue;
      const auto at = [&](const Tensor& t) { return t.mutable_data_ptr<float>() + first * head_dim_; };
      LookUpHead(static_cast<int>(head), count, at(queries), at(keys), at(values), at(mixed), &found[first]);
    }
  });

  Rows(mixes_).index_copy_(0, index, mixed.to(mixes_.device()));
  for (size_t i = 0; i < missing.size(); ++i) {
    known_[Slot(missing[i])] = 1;
    if (trace_) found_[Slot(missing[i])] = std::move(found[i]);
  }
}

void MemoryLayer::LookUpHead(int head, size_t count, const float* queries, const float* keys,
                             const float* values, float* mixed, Found* found) const {
  const size_t d = head_dim_;
  const size_t per_row = std::min<size_t>(parameters_.k, memory_->n_tokens());
  std::vector<float> found_keys(per_row * d), found_values(per_row * d);
  const size_t rows_at_once = std::max<size_t>(1, kMaxNeighboursAtOnce / per_row);
  for (size_t first = 0; first < count; first += rows_at_once) {
    const size_t n = std::min(rows_at_once, count - first);
    const std::vector<Neighbour> neighbours =
        memory_->Search(layer_, head, {keys + first * d, n * d}, parameters_.k);
    for (size_t i = 0; i < n; ++i) {
      const size_t row = (first + i) * d;
      const std::span<const Neighbour> near(neighbours.data() + i * per_row, per_row);
      memory_->Gather(layer_, head, near, found_keys, found_values);
      Mix mix = RankAndMix(parameters_, {{queries + row, d}, {keys + row, d}, {values + row, d}}, found_keys,
                           found_values, {mixed + row, d});
      if (trace_) found[first + i] = {{near.begin(), near.end()}, std::move(mix)};
    }
  }
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
