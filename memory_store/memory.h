// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_MEMORY_STORE_MEMORY_H_
#define MTM_MEMORY_STORE_MEMORY_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace mtm {

// What a memory's content was made of. Part of the digest.
struct MemorySpec {
  std::string model_fingerprint;  // SHA-256, 64 hexadecimal digits
  std::vector<int> layers;        // kept; from 1, ascending
  int n_head = 0;
  int head_dim = 0;
  int n_dropped = 1;     // leading tokens run in each window and not stored
  int64_t n_tokens = 0;  // stored rows of each (layer, head)
};

// A memory as it is listed.
struct MemoryInfo {
  std::string name;
  std::string digest;  // SHA-256 over the stored content, 64 hexadecimal digits
  MemorySpec spec;
  int64_t size_bytes = 0;  // on disk
  absl::Time create_time;
};

struct Neighbour {
  int64_t position;  // row of the memory, from 0
  float distance;    // squared Euclidean

  friend bool operator==(const Neighbour&, const Neighbour&) = default;
};

// The keys and values that a text left in the attention heads of some layers, mapped from its file, with a
// nearest-neighbour search over the keys of each (layer, head).
// Immutable and thread-safe; lives as long as anybody holds it, deleted from the store or not.
class Memory {
 public:
  struct File;  // the mapped file behind it
  Memory(MemoryInfo info, std::shared_ptr<const File> file);
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  const MemoryInfo& info() const { return info_; }
  const MemorySpec& spec() const { return info_.spec; }

  // [n_tokens]: the stored tokens, without the dropped ones.
  std::span<const int32_t> tokens() const;

  bool has_layer(int layer) const;

  // [n_tokens, head_dim], row-major. Precondition: has_layer(layer), 0 <= head < n_head.
  std::span<const float> keys(int layer, int head) const;
  std::span<const float> values(int layer, int head) const;

  // For each of the queries [n, head_dim] the min(k, n_tokens) nearest stored keys, nearest first, equal
  // distances by lower position; laid out [n, min(k, n_tokens)]. Distances are recomputed directly from the
  // differences: FAISS's batched L2 cancels in float32 (METHOD: Search). Precondition: k >= 1, and as above.
  std::vector<Neighbour> Search(int layer, int head, std::span<const float> queries, int k) const;

 private:
  MemoryInfo info_;
  std::shared_ptr<const File> file_;
};

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_MEMORY_H_
