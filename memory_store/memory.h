// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_MEMORY_STORE_MEMORY_H_
#define MTM_MEMORY_STORE_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace mtm {

class Segment;

// How keys and values are kept, in a memory and in a key-value cache.
enum class DataType { kF32, kF16 };

// Bytes of one number.
constexpr size_t ElementSize(DataType type) { return type == DataType::kF16 ? 2 : 4; }

// fp32 or fp16: in flags and messages.
const char* NameOf(DataType type);

// How a model's matrices are kept in memory, whatever the checkpoint's types; all else is float32.
enum class WeightType {
  kF32,
  kF16,   // rounded to nearest; products and sums in float32
  kInt8,  // 127 levels a side, scaled by output; the input of a product in 8 bits too, scaled by row
  kBF16,  // bfloat16; the input of a product and what comes out of it too
};

// fp32, fp16, int8 or bf16: in settings, flags and messages.
const char* NameOf(WeightType type);

// What all versions of a memory have in common. Part of the digest.
struct MemorySpec {
  std::string model_fingerprint;  // SHA-256, 64 hexadecimal digits
  std::vector<int> layers;        // kept; from 1, ascending
  int n_head = 0;
  int head_dim = 0;
  std::vector<int32_t> leading;  // token ids run in front of each window and not stored
  DataType dtype = DataType::kF32;
  WeightType weights = WeightType::kF32;  // of the model while it made them

  friend bool operator==(const MemorySpec&, const MemorySpec&) = default;
};

// What was run through the model at once.
struct MemoryWindow {
  int64_t n_tokens = 0;  // stored
  std::string digest;    // SHA-256 of tokens, keys and values, 64 hexadecimal digits
  std::string source;    // label of the text that it is from; may be empty

  friend bool operator==(const MemoryWindow&, const MemoryWindow&) = default;
};

// A version of a memory.
struct MemoryInfo {
  std::string name;
  std::string digest;         // SHA-256 over the stored content, 64 hexadecimal digits
  std::string source_digest;  // the same over tokens and settings: equal on every machine
  MemorySpec spec;
  int64_t n_tokens = 0;    // stored rows of each (layer, head)
  int64_t size_bytes = 0;  // on disk, without indexes
  absl::Time create_time;

  // Where parts of it have an approximate index: rows that it covers, and the lowest recall@10 measured at
  // build time.
  int64_t n_indexed = 0;
  double index_recall = 1;
};

struct Neighbour {
  int64_t position;  // row of the memory, from 0
  float distance;    // squared Euclidean

  friend bool operator==(const Neighbour&, const Neighbour&) = default;
};

// The keys and values that texts left in the attention heads of some layers, mapped from the files of a
// version's segments, with a nearest-neighbour search over the keys of each (layer, head). Immutable and
// thread-safe; lives as long as anybody holds it, deleted from the store or not.
class Memory {
 public:
  // `segments` in order; their specs are `info.spec`, and they have `info.n_tokens` rows together.
  Memory(MemoryInfo info, std::vector<std::shared_ptr<const Segment>> segments);
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  const MemoryInfo& info() const { return info_; }
  const MemorySpec& spec() const { return info_.spec; }
  int64_t n_tokens() const { return info_.n_tokens; }

  // The stored tokens, without the leading ones. Precondition: 0 <= position < n_tokens.
  int32_t token(int64_t position) const;
  // [n_tokens], copied.
  std::vector<int32_t> tokens() const;

  // In order; their tokens are all of the memory's.
  std::vector<MemoryWindow> windows() const;

  const std::vector<std::shared_ptr<const Segment>>& segments() const { return segments_; }

  bool has_layer(int layer) const;

  // For each of the queries [n, head_dim] the min(k, n_tokens) nearest stored keys, nearest first, equal
  // distances by lower position; laid out [n, min(k, n_tokens)]. Distances are recomputed directly from the
  // differences: FAISS's batched L2 cancels in float32 (METHOD: Search). Exact, but in segments with an
  // index, which may miss some. Precondition: k >= 1, has_layer(layer), 0 <= head < n_head.
  std::vector<Neighbour> Search(int layer, int head, std::span<const float> queries, int k) const;

  // Keys and values at the neighbours' positions, as float32: [neighbours.size(), head_dim] each.
  // Preconditions as above.
  void Gather(int layer, int head, std::span<const Neighbour> neighbours, std::span<float> keys,
              std::span<float> values) const;

  // Rows [first, first + n) as float32, [n, head_dim] each; n from the spans' size.
  void CopyRows(int layer, int head, int64_t first, std::span<float> keys, std::span<float> values) const;

  // Some segment is searched by an approximate index.
  bool is_approximate() const;

 private:
  size_t SegmentOf(int64_t position) const;

  MemoryInfo info_;
  std::vector<std::shared_ptr<const Segment>> segments_;
  std::vector<int64_t> begins_;  // [segments + 1]: first row of each
};

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_MEMORY_H_
