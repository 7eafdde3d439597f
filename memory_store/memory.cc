// SPDX-License-Identifier: Apache-2.0
#include "memory_store/memory.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "memory_store/search.h"
#include "memory_store/segment.h"
#include "memory_store/segment_index.h"

namespace mtm {
namespace {

// [n, min(k, n_tokens)] of a segment, exact or by its index.
std::vector<Neighbour> SearchSegment(const Segment& segment, int layer, int head,
                                     std::span<const float> queries, int k) {
  const StoredRows keys = segment.keys(layer, head);
  const SegmentIndex* const index = segment.index();
  if (index == nullptr) return NearestKeys(keys, queries, k);
  const auto dim = static_cast<size_t>(keys.head_dim);
  const std::vector<std::vector<uint32_t>> proposed = index->Propose(layer, head, queries, k);
  std::vector<Neighbour> found;
  found.reserve(proposed.size() * static_cast<size_t>(std::min<int64_t>(k, keys.n)));
  for (size_t q = 0; q < proposed.size(); ++q) {
    const std::vector<Neighbour> nearest = NearestAmong(keys, proposed[q], queries.subspan(q * dim, dim), k);
    found.insert(found.end(), nearest.begin(), nearest.end());
  }
  return found;
}

}  // namespace

const char* NameOf(DataType type) { return type == DataType::kF16 ? "fp16" : "fp32"; }

const char* NameOf(WeightType type) {
  switch (type) {
    case WeightType::kF32:
      return "fp32";
    case WeightType::kF16:
      return "fp16";
    case WeightType::kInt8:
      return "int8";
    case WeightType::kBF16:
      return "bf16";
  }
  return "";
}

Memory::Memory(MemoryInfo info, std::vector<std::shared_ptr<const Segment>> segments)
    : info_(std::move(info)), segments_(std::move(segments)), begins_{0} {
  for (const auto& segment : segments_) begins_.push_back(begins_.back() + segment->n_tokens());
  assert(begins_.back() == info_.n_tokens);
}

Memory::~Memory() = default;

size_t Memory::SegmentOf(int64_t position) const {
  assert(position >= 0 && position < n_tokens());
  return static_cast<size_t>(std::upper_bound(begins_.begin(), begins_.end(), position) - begins_.begin()) -
         1;
}

int32_t Memory::token(int64_t position) const {
  const size_t i = SegmentOf(position);
  return segments_[i]->tokens()[static_cast<size_t>(position - begins_[i])];
}

std::vector<int32_t> Memory::tokens() const {
  std::vector<int32_t> all;
  all.reserve(static_cast<size_t>(n_tokens()));
  for (const auto& segment : segments_)
    all.insert(all.end(), segment->tokens().begin(), segment->tokens().end());
  return all;
}

std::vector<MemoryWindow> Memory::windows() const {
  std::vector<MemoryWindow> all;
  for (const auto& segment : segments_) {
    all.insert(all.end(), segment->windows().begin(), segment->windows().end());
  }
  return all;
}

bool Memory::has_layer(int layer) const {
  return std::binary_search(spec().layers.begin(), spec().layers.end(), layer);
}

std::vector<Neighbour> Memory::Search(int layer, int head, std::span<const float> queries, int k) const {
  assert(has_layer(layer));
  if (segments_.size() == 1) return SearchSegment(*segments_[0], layer, head, queries, k);
  const size_t n_queries = queries.size() / static_cast<size_t>(spec().head_dim);
  std::vector<std::vector<Neighbour>> merged(n_queries);
  for (size_t s = 0; s < segments_.size(); ++s) {
    const std::vector<Neighbour> found = SearchSegment(*segments_[s], layer, head, queries, k);
    for (size_t i = 0; i < found.size(); ++i) {
      const Neighbour shifted{.position = begins_[s] + found[i].position, .distance = found[i].distance};
      merged[i / (found.size() / n_queries)].push_back(shifted);
    }
  }
  std::vector<Neighbour> result;
  for (std::vector<Neighbour>& all : merged) {
    std::sort(all.begin(), all.end(), Nearer);
    const auto n = static_cast<std::ptrdiff_t>(std::min<int64_t>(k, n_tokens()));
    result.insert(result.end(), all.begin(), all.begin() + n);
  }
  return result;
}

void Memory::Gather(int layer, int head, std::span<const Neighbour> neighbours, std::span<float> keys,
                    std::span<float> values) const {
  const auto dim = static_cast<size_t>(spec().head_dim);
  for (size_t i = 0; i < neighbours.size(); ++i) {
    CopyRows(layer, head, neighbours[i].position, keys.subspan(i * dim, dim), values.subspan(i * dim, dim));
  }
}

void Memory::CopyRows(int layer, int head, int64_t first, std::span<float> keys,
                      std::span<float> values) const {
  const auto dim = static_cast<size_t>(spec().head_dim);
  while (!keys.empty()) {
    const size_t i = SegmentOf(first);
    const auto n_left = static_cast<size_t>(begins_[i + 1] - first);
    const size_t size = std::min(keys.size(), n_left * dim);
    segments_[i]->keys(layer, head).Copy(first - begins_[i], keys.first(size));
    segments_[i]->values(layer, head).Copy(first - begins_[i], values.first(size));
    keys = keys.subspan(size);
    values = values.subspan(size);
    first = begins_[i + 1];
  }
}

bool Memory::is_approximate() const {
  return std::any_of(segments_.begin(), segments_.end(),
                     [](const auto& segment) { return segment->index() != nullptr; });
}

}  // namespace mtm
