// SPDX-License-Identifier: Apache-2.0
#include "server/text/bpe.h"

#include <algorithm>
#include <functional>

namespace mtm {
namespace {

// Up to here a scan for the lowest rank is cheaper than a heap.
constexpr size_t kShortWord = 48;

// Bounds of what is remembered of a text, so that one of all different words costs little more than without.
constexpr size_t kLongestKnownWord = 64;
constexpr size_t kMostKnownWords = 1 << 16;

constexpr uint32_t kNone = UINT32_MAX;

uint64_t PairKey(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

}  // namespace

bool Bpe::AddMerge(int32_t left, int32_t right, int32_t result) {
  const auto rank = static_cast<uint32_t>(results_.size());
  if (!ranks_.try_emplace(PairKey(left, right), rank).second) return false;
  results_.push_back(result);
  return true;
}

uint32_t Bpe::Rank(int32_t left, int32_t right) const {
  const auto found = ranks_.find(PairKey(left, right));
  return found == ranks_.end() ? kNoMerge : found->second;
}

void BpeEncoder::Encode(std::string_view word, std::vector<int32_t>* ids) {
  if (word.size() > kLongestKnownWord) return Merge(word, ids);
  if (word.size() == 1) return ids->push_back(bpe_->ByteId(word[0]));
  if (const auto known = known_.find(word); known != known_.end()) {
    const Slice slice = known->second;
    for (size_t i = 0; i < slice.size; ++i) ids->push_back((*ids)[slice.begin + i]);
    return;
  }
  const size_t begin = ids->size();
  Merge(word, ids);
  if (known_.size() < kMostKnownWords) known_.emplace(word, Slice{begin, ids->size() - begin});
}

void BpeEncoder::Merge(std::string_view word, std::vector<int32_t>* ids) {
  if (word.size() <= kShortWord) return MergeShort(word, ids);
  MergeLong(word, ids);
}

void BpeEncoder::MergeShort(std::string_view word, std::vector<int32_t>* ids) {
  std::array<int32_t, kShortWord> id;
  std::array<uint32_t, kShortWord> rank;  // of each symbol's merge with the next
  size_t size = word.size();
  for (size_t i = 0; i < size; ++i) id[i] = bpe_->ByteId(word[i]);
  const auto update = [&](size_t i) {
    rank[i] = i + 1 < size ? bpe_->Rank(id[i], id[i + 1]) : Bpe::kNoMerge;
  };
  for (size_t i = 0; i < size; ++i) update(i);
  while (size > 1) {
    const size_t at = std::min_element(rank.begin(), rank.begin() + size) - rank.begin();
    if (rank[at] == Bpe::kNoMerge) break;
    id[at] = bpe_->Result(rank[at]);
    std::copy(id.begin() + at + 2, id.begin() + size, id.begin() + at + 1);
    std::copy(rank.begin() + at + 2, rank.begin() + size, rank.begin() + at + 1);
    --size;
    update(at);
    if (at > 0) update(at - 1);
  }
  ids->insert(ids->end(), id.begin(), id.begin() + size);
}

void BpeEncoder::MergeLong(std::string_view word, std::vector<int32_t>* ids) {
  const auto size = static_cast<uint32_t>(word.size());
  symbols_.resize(size);
  queue_.clear();
  for (uint32_t i = 0; i < size; ++i) {
    symbols_[i] = {bpe_->ByteId(word[i]), Bpe::kNoMerge, i == 0 ? kNone : i - 1,
                   i + 1 == size ? kNone : i + 1};
  }
  for (uint32_t i = 0; i + 1 < size; ++i) {
    symbols_[i].rank = bpe_->Rank(symbols_[i].id, symbols_[i + 1].id);
    if (symbols_[i].rank != Bpe::kNoMerge)
      queue_.push_back(static_cast<uint64_t>(symbols_[i].rank) << 32 | i);
  }
  std::make_heap(queue_.begin(), queue_.end(), std::greater<>());
  while (!queue_.empty()) {
    std::pop_heap(queue_.begin(), queue_.end(), std::greater<>());
    const auto rank = static_cast<uint32_t>(queue_.back() >> 32);
    const auto at = static_cast<uint32_t>(queue_.back());
    queue_.pop_back();
    // An entry is stale when a neighbour's merge has changed the pair at its place.
    if (symbols_[at].rank == rank) MergeAt(at);
  }
  for (uint32_t i = 0; i != kNone; i = symbols_[i].next) ids->push_back(symbols_[i].id);
}

void BpeEncoder::MergeAt(uint32_t at) {
  Symbol& symbol = symbols_[at];
  Symbol& gone = symbols_[symbol.next];
  symbol.id = bpe_->Result(symbol.rank);
  symbol.next = gone.next;
  gone.rank = Bpe::kNoMerge;
  if (symbol.next != kNone) symbols_[symbol.next].previous = at;
  UpdateRank(at);
  if (symbol.previous != kNone) UpdateRank(symbol.previous);
}

void BpeEncoder::UpdateRank(uint32_t at) {
  Symbol& symbol = symbols_[at];
  symbol.rank = symbol.next == kNone ? Bpe::kNoMerge : bpe_->Rank(symbol.id, symbols_[symbol.next].id);
  if (symbol.rank == Bpe::kNoMerge) return;
  queue_.push_back(static_cast<uint64_t>(symbol.rank) << 32 | at);
  std::push_heap(queue_.begin(), queue_.end(), std::greater<>());
}

}  // namespace mtm
