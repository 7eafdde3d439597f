// SPDX-License-Identifier: Apache-2.0
#include "server/model/device_memory.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "server/model/unshare.h"

namespace mtm {

using at::Tensor;

namespace {

// Beyond k, for distances that float32 does not tell apart.
constexpr int64_t kExtraCandidates = 8;

// Numbers that a lookup holds at once: 256 MiB, unless k is in the thousands.
constexpr int64_t kMaxNumbers = int64_t{1} << 26;
// Rows of the memory that distances are to at once.
constexpr int64_t kStoredAtOnce = int64_t{1} << 16;

}  // namespace

StoredLayer::StoredLayer(const Memory& memory, int layer, c10::Device device) {
  const MemorySpec& spec = memory.spec();
  const int64_t n = memory.n_tokens(), dim = spec.head_dim;
  const auto type = spec.dtype == DataType::kF16 ? at::kHalf : at::kFloat;
  keys = at::empty({spec.n_head, n, dim}, at::device(device).dtype(type));
  values = at::empty_like(keys);
  const Tensor key_rows = at::empty({n, dim}, at::kFloat), value_rows = at::empty_like(key_rows);
  const auto span = [](const Tensor& rows) {
    return std::span(rows.mutable_data_ptr<float>(), static_cast<size_t>(rows.numel()));
  };
  for (int head = 0; head < spec.n_head; ++head) {
    memory.CopyRows(layer, head, 0, span(key_rows), span(value_rows));
    keys.select(0, head).copy_(key_rows.to(type));
    values.select(0, head).copy_(value_rows.to(type));
  }
  squares = at::empty({spec.n_head, n}, at::device(device).dtype(at::kFloat));
  for (int head = 0; head < spec.n_head; ++head) {
    squares.select(0, head).copy_(keys.select(0, head).to(at::kFloat).square().sum(-1));
  }
}

std::shared_ptr<StoredLayers::Place> StoredLayers::PlaceOf(const Memory& memory, int layer) {
  const std::lock_guard lock(mutex_);
  std::erase_if(entries_, [](const Entry& entry) {
    return std::ranges::any_of(entry.segments, [](const auto& segment) { return segment.expired(); });
  });
  for (const Entry& entry : entries_) {
    const bool is_it =
        entry.layer == layer && std::ranges::equal(entry.segments, memory.segments(), {},
                                                   [](const auto& segment) { return segment.lock(); });
    if (is_it) return entry.place;
  }
  entries_.push_back(
      {{memory.segments().begin(), memory.segments().end()}, layer, std::make_shared<Place>()});
  return entries_.back().place;
}

void StoredLayers::DropUnused() {
  const std::lock_guard lock(mutex_);
  std::erase_if(entries_, [](const Entry& entry) {
    return entry.place->is_there && entry.place.use_count() == 1 && entry.place->stored.use_count() == 1;
  });
}

StoredLayers::StoredLayers(c10::Device device)
    : copy_([device](const Memory& memory, int layer) {
        return std::make_shared<const StoredLayer>(memory, layer, device);
      }) {}

std::shared_ptr<const StoredLayer> StoredLayers::Find(const Memory& memory, int layer) {
  const std::shared_ptr<Place> place = PlaceOf(memory, layer);
  return place->is_there ? place->stored : nullptr;
}

std::shared_ptr<const StoredLayer> StoredLayers::Get(const Memory& memory, int layer) {
  const std::shared_ptr<Place> place = PlaceOf(memory, layer);
  const std::lock_guard lock(place->mutex);
  if (place->stored != nullptr) return place->stored;
  try {
    place->stored = copy_(memory, layer);
  } catch (const c10::OutOfMemoryError&) {
    DropUnused();
    place->stored = copy_(memory, layer);
  }
  place->is_there = true;
  return place->stored;
}

DeviceMemoryLayer::DeviceMemoryLayer(const MemoryUse& use, int use_index, int layer,
                                     std::shared_ptr<const StoredLayer> stored, int capacity, bool trace)
    : stored_(std::move(stored)),
      parameters_(use.parameters),
      use_index_(use_index),
      layer_(layer),
      n_head_(stored_->keys.size(0)),
      n_stored_(stored_->keys.size(1)),
      head_dim_(stored_->keys.size(2)),
      k_(std::min<int64_t>(parameters_.k, n_stored_)),
      trace_(trace) {
  const auto on_device = at::device(stored_->keys.device());
  const auto numbers = on_device.dtype(at::kFloat);
  query_ = at::empty({n_head_, capacity, head_dim_}, numbers);
  mixed_ = at::empty_like(query_);
  mixes_ = at::empty_like(query_);
  selected_ = at::zeros({n_head_, capacity}, on_device.dtype(at::kBool));
  if (!trace) return;
  attention_ = at::empty({n_head_, capacity}, numbers);
  positions_ = at::empty({n_head_, capacity, k_}, on_device.dtype(at::kLong));
  distances_ = at::empty({n_head_, capacity, k_}, numbers);
  weights_ = at::empty({n_head_, capacity, 1 + k_}, numbers);
}

void DeviceMemoryLayer::SetRows(const NewRows& rows) {
  query_.index_copy_(1, rows.positions, rows.query);
  selected_.index_fill_(1, rows.positions, 0);
}

void DeviceMemoryLayer::LookUp(std::span<const NewRows> all) {
  const auto shares = [](const NewRows& a, const NewRows& b) {
    const MemoryParameters &of_a = a.layer->parameters_, &of_b = b.layer->parameters_;
    return a.layer->stored_ == b.layer->stored_ && of_a.method == of_b.method && of_a.k == of_b.k &&
           of_a.score_scale == of_b.score_scale && of_a.residual_fraction == of_b.residual_fraction;
  };
  for (const NewRows& rows : all) rows.layer->SetRows(rows);
  std::vector<NewRows> left(all.begin(), all.end());
  while (!left.empty()) {
    const NewRows first = left.front();
    const auto others = std::stable_partition(left.begin(), left.end(),
                                              [&](const NewRows& rows) { return shares(first, rows); });
    first.layer->LookUpTogether({left.begin(), others});
    left.erase(left.begin(), others);
  }
}

void DeviceMemoryLayer::LookUpTogether(std::span<const NewRows> all) const {
  const auto joined = [&](Tensor NewRows::*part) {
    std::vector<Tensor> parts;
    for (const NewRows& rows : all) parts.push_back(rows.*part);
    return parts.size() == 1 ? parts[0] : at::cat(parts, 1);
  };
  const Tensor query = joined(&NewRows::query), key = joined(&NewRows::key), value = joined(&NewRows::value);
  // Distances, and in double what the candidates' rows are.
  const int64_t a_row = std::max(std::min(n_stored_, kStoredAtOnce), 4 * (k_ + kExtraCandidates) * head_dim_);
  const int64_t at_once = std::max<int64_t>(1, kMaxNumbers / (n_head_ * a_row));
  for (int64_t begin = 0; begin < query.size(1); begin += at_once) {
    const int64_t n = std::min(at_once, query.size(1) - begin);
    const Found found = Find(query.narrow(1, begin, n), key.narrow(1, begin, n), value.narrow(1, begin, n));
    int64_t own_begin = 0;
    for (const NewRows& rows : all) {
      const int64_t own_end = own_begin + rows.query.size(1);
      const int64_t first = std::max(begin, own_begin), end = std::min(begin + n, own_end);
      if (first < end) {
        rows.layer->Keep(rows.positions.narrow(0, first - own_begin, end - first), found, first - begin,
                         end - first);
      }
      own_begin = own_end;
    }
  }
}

void DeviceMemoryLayer::Keep(const Tensor& positions, const Found& found, int64_t first, int64_t count) {
  const auto copy = [&](const Tensor& to, const Tensor& from) {
    to.index_copy_(1, positions, from.narrow(1, first, count).to(to.scalar_type()));
  };
  copy(mixes_, found.mixed);
  if (!trace_) return;
  copy(positions_, found.positions);
  copy(distances_, found.distances);
  const int64_t n_weights = found.weights.size(-1);  // one less where the own one does not compete
  weights_.index_fill_(1, positions, 0);
  copy(weights_.narrow(-1, 1 + k_ - n_weights, n_weights), found.weights);
}

Tensor DeviceMemoryLayer::Gather(const Tensor& rows, const Tensor& positions) const {
  const Tensor heads = at::arange(n_head_, positions.options()).view({n_head_, 1, 1});
  const Tensor index = (positions + heads * n_stored_).flatten();
  return rows.view({n_head_ * n_stored_, head_dim_})
      .index_select(0, index)
      .to(at::kDouble)
      .view({n_head_, positions.size(1), positions.size(2), head_dim_});
}

// METHOD 2, Search.
std::pair<Tensor, Tensor> DeviceMemoryLayer::Nearest(const Tensor& key) const {
  Tensor best, candidates;  // squares less twice the products; positions: [n_head, count, m]
  for (int64_t begin = 0; begin < n_stored_; begin += kStoredAtOnce) {
    const int64_t n = std::min(kStoredAtOnce, n_stored_ - begin);
    const Tensor stored = stored_->keys.narrow(1, begin, n).to(at::kFloat).transpose(1, 2);
    const Tensor all =
        at::baddbmm(stored_->squares.narrow(1, begin, n).unsqueeze(1), key, stored, /*beta=*/1, /*alpha=*/-2);
    auto [nearest, positions] =
        all.topk(std::min(n, k_ + kExtraCandidates), /*dim=*/-1, /*largest=*/false, /*sorted=*/false);
    positions = positions + begin;
    best = best.defined() ? at::cat({best, nearest}, -1) : nearest;
    candidates = candidates.defined() ? at::cat({candidates, positions}, -1) : positions;
    if (best.size(2) <= k_ + kExtraCandidates) continue;
    const Tensor kept =
        std::get<1>(best.topk(k_ + kExtraCandidates, -1, /*largest=*/false, /*sorted=*/false));
    best = best.gather(-1, kept);
    candidates = candidates.gather(-1, kept);
  }
  // Nearest first, equal ones by lower position.
  const Tensor positions = std::get<0>(candidates.sort(-1));
  const Tensor exact = (Gather(stored_->keys, positions) - key.to(at::kDouble).unsqueeze(2)).square().sum(-1);
  const Tensor distances =
      at::nan_to_num(exact.to(at::kFloat), std::numeric_limits<double>::infinity(),
                     std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity());
  const auto [sorted, order] = distances.sort(/*stable=*/true, -1, /*descending=*/false);
  return {positions.gather(-1, order.narrow(-1, 0, k_)), sorted.narrow(-1, 0, k_)};
}

// METHOD 2, Rank and Mix, in double as mix.cc.
DeviceMemoryLayer::Found DeviceMemoryLayer::Find(const Tensor& query, const Tensor& key,
                                                 const Tensor& value) const {
  const auto [positions, distances] = Nearest(key);
  const bool own_competes = parameters_.method != Method::kType2;
  const auto as_column = [](const Tensor& rows) { return rows.to(at::kDouble).unsqueeze(2); };
  Tensor keys = Gather(stored_->keys, positions), values = Gather(stored_->values, positions);
  if (own_competes) {
    keys = at::cat({as_column(key), keys}, 2);
    values = at::cat({as_column(value), values}, 2);
  }
  const Tensor scores = (keys * as_column(query)).sum(-1);
  const double scale = parameters_.score_scale / std::sqrt(static_cast<double>(head_dim_));
  const Tensor weights = at::softmax((scores - scores.amax({-1}, /*keepdim=*/true)).mul_(scale), -1);
  const double residual = parameters_.method == Method::kType1 ? 0 : parameters_.residual_fraction;
  const Tensor mixed = (weights.unsqueeze(-1) * values).sum(2);
  return {mixed.mul_(1 - residual).add_(value.to(at::kDouble), residual), positions, distances, weights};
}

// As selection.cc.
Tensor DeviceMemoryLayer::SelectTokensHeads(const Tensor& attention, const Tensor& length) const {
  const double mf = parameters_.memory_fraction, bf = parameters_.bookkeeping_fraction;
  const double head_fraction = parameters_.head_fraction;
  const Tensor s = attention.to(at::kDouble);
  const Tensor selected = s > 0;
  if (mf > 0) selected.logical_and_(s >= (length * mf).reciprocal());
  const Tensor s0 = s.select(1, 0);
  Tensor bookkeeping = selected.select(1, 0).logical_and(s0 > bf);  // bf = 0: s > 0 already
  if (bf >= 1) bookkeeping.zero_();
  if (mf == 0) selected.zero_();
  selected.select(1, 0).copy_(bookkeeping);
  if (head_fraction >= 1) return selected;
  // By head, then position, which a stable sort keeps of equal ones.
  const Tensor ranked = s.masked_fill(selected.logical_not(), -1).flatten();
  const Tensor order = std::get<1>(ranked.sort(/*stable=*/true, 0, /*descending=*/true));
  const Tensor limit = (length * static_cast<double>(n_head_)).mul_(head_fraction).ceil_();
  const Tensor kept = at::empty_like(selected).flatten();
  kept.scatter_(0, order, at::arange(order.numel(), order.options()) < limit);
  return selected.logical_and_(kept.view_as(selected));
}

void DeviceMemoryLayer::Select(const Tensor& attention, const Tensor& length, const Tensor& value) {
  const int64_t n = attention.size(1);
  const Tensor selected = SelectTokensHeads(attention, length), before = selected_.narrow(1, 0, n);
  changed_ = selected.ne(before).any(0);
  before.copy_(selected);
  mixed_.narrow(1, 0, n).copy_(
      at::where(selected.unsqueeze(-1), mixes_.narrow(1, 0, n), value.narrow(1, 0, n)));
  if (trace_) attention_.narrow(1, 0, n).copy_(attention);
}

int DeviceMemoryLayer::FirstChanged() const {
  const Tensor changed = changed_.to(at::kCPU);
  const bool* const begin = changed.const_data_ptr<bool>();
  return static_cast<int>(std::find(begin, begin + changed.numel(), true) - begin);
}

void DeviceMemoryLayer::AppendTrace(std::vector<TraceEntry>& trace) const {
  const auto fetch = [](const Tensor& tensor) { return tensor.to(at::kCPU).contiguous(); };
  const Tensor selected = fetch(selected_), attention = fetch(attention_), positions = fetch(positions_),
               distances = fetch(distances_), weights = fetch(weights_);
  const int64_t capacity = selected.size(1);
  for (int64_t i = 0; i < selected.numel(); ++i) {
    if (!selected.const_data_ptr<bool>()[i]) continue;
    const float* const weight = weights.const_data_ptr<float>() + i * (1 + k_);
    TraceEntry entry{.layer = layer_,
                     .head = static_cast<int>(i / capacity),
                     .position = static_cast<int>(i % capacity),
                     .attention = attention.const_data_ptr<float>()[i],
                     .own_weight = weight[0],
                     .neighbours = {},
                     .weights = {weight + 1, weight + 1 + k_},
                     .use = use_index_};
    for (int64_t j = i * k_; j < (i + 1) * k_; ++j) {
      entry.neighbours.push_back({.position = positions.const_data_ptr<int64_t>()[j],
                                  .distance = distances.const_data_ptr<float>()[j]});
    }
    trace.push_back(std::move(entry));
  }
}

bool DeviceMemoryLayer::Unshare() {
  bool copied = false;
  for (Tensor* tensor :
       {&query_, &mixed_, &mixes_, &selected_, &attention_, &positions_, &distances_, &weights_}) {
    copied |= mtm::Unshare(*tensor);
  }
  return copied;
}

}  // namespace mtm
