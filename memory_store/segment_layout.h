// SPDX-License-Identifier: Apache-2.0
// Where everything lies in a segment's file, for the writer and the reader alike.
#ifndef MTM_MEMORY_STORE_SEGMENT_LAYOUT_H_
#define MTM_MEMORY_STORE_SEGMENT_LAYOUT_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "memory_store/memory.h"

namespace mtm {

inline constexpr uint64_t kSectionAlignment = 4096;
inline constexpr uint64_t kBlockSize = 1 << 20;

struct FileSection {
  std::string kind;  // "tokens", "keys", "values" or one that this version does not know
  int layer = 0;     // 0: of no layer
  uint64_t offset = 0;
  uint64_t size = 0;

  std::string Describe() const;  // "keys of layer 7"
};

struct SegmentLayout {
  MemorySpec spec;
  std::vector<MemoryWindow> windows;
  int64_t n_tokens = 0;
  std::vector<FileSection> sections;  // ascending by offset
  uint64_t data_size = 0;             // where the table begins

  const FileSection& Find(std::string_view kind, int layer) const;  // precondition: it is there
  uint64_t n_blocks() const { return (data_size + kBlockSize - 1) / kBlockSize; }
  uint64_t file_size() const { return data_size + TableSize(); }
  uint64_t TableSize() const { return (n_blocks() + 1) * sizeof(uint64_t); }  // with its checksum
};

// INVALID_ARGUMENT names the field of a spec that is no memory: bad fingerprint, no or unordered layers, a
// number out of range.
absl::Status CheckSpec(const MemorySpec& spec);

// The writer's layout of a spec that CheckSpec accepts. Digests of windows count with their full length, known or not.
SegmentLayout LayOut(MemorySpec spec, std::vector<MemoryWindow> windows);

// Bytes of a section of a kind that this version knows.
uint64_t SectionSize(const MemorySpec& spec, int64_t n_tokens, std::string_view kind);

size_t ElementSize(DataType dtype);

// DATA_LOSS: a section lies outside the data, over another or not aligned, or a required one is not there
// once.
absl::Status CheckLayout(const SegmentLayout& layout, uint64_t head_size);

// `settings` of FORMAT.md's digests.
std::string SettingsJson(const MemorySpec& spec);

// The digest of a version, or of a segment, with these windows (FORMAT.md).
std::string VersionDigest(const MemorySpec& spec, const std::vector<MemoryWindow>& windows);

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_SEGMENT_LAYOUT_H_
