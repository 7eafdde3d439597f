// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_TEXT_BPE_H_
#define MTM_SERVER_TEXT_BPE_H_

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace mtm {

// The merges of a byte-level BPE. Thread-safe once all are added.
class Bpe {
 public:
  static constexpr uint32_t kNoMerge = UINT32_MAX;

  // `byte_ids`: the token that each byte is before any merge.
  explicit Bpe(const std::array<int32_t, 256>& byte_ids) : byte_ids_(byte_ids) {}

  // The next merge; earlier ones go first. False, and nothing is added, when the pair has a merge already.
  bool AddMerge(int32_t left, int32_t right, int32_t result);

  int32_t ByteId(char byte) const { return byte_ids_[static_cast<unsigned char>(byte)]; }

  // The pair's place in the order of merges, or kNoMerge.
  uint32_t Rank(int32_t left, int32_t right) const;

  int32_t Result(uint32_t rank) const { return results_[rank]; }

 private:
  std::array<int32_t, 256> byte_ids_;
  absl::flat_hash_map<uint64_t, uint32_t> ranks_;  // by pair of ids
  std::vector<int32_t> results_;                   // by rank
};

// Applies merges to the words of one text: lowest rank first, and of equal ones the leftmost. For one thread.
class BpeEncoder {
 public:
  // `bpe`, and the words given to Encode, outlive the encoder.
  explicit BpeEncoder(const Bpe& bpe) : bpe_(&bpe) {}

  // Appends the tokens of `word`, shorter than 2^32 - 1 bytes, to `ids`: the same vector at every call, only
  // appended to. Time is O(n log n) in the word's length.
  void Encode(std::string_view word, std::vector<int32_t>* ids);

 private:
  struct Slice {
    size_t begin;
    size_t size;
  };
  struct Symbol {
    int32_t id;
    uint32_t rank;  // of the merge with the next symbol
    uint32_t previous;
    uint32_t next;
  };

  void Merge(std::string_view word, std::vector<int32_t>* ids);
  void MergeShort(std::string_view word, std::vector<int32_t>* ids);
  void MergeLong(std::string_view word, std::vector<int32_t>* ids);
  void MergeAt(uint32_t at);
  void UpdateRank(uint32_t at);

  const Bpe* bpe_;
  absl::flat_hash_map<std::string_view, Slice> known_;  // words seen before, as slices of the ids
  std::vector<Symbol> symbols_;
  std::vector<uint64_t> queue_;  // a heap of rank << 32 | place; the smallest is next
};

}  // namespace mtm

#endif  // MTM_SERVER_TEXT_BPE_H_
