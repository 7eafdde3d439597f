// SPDX-License-Identifier: Apache-2.0
// Where everything lies in a segment's file, for the writer and the reader alike.
#ifndef MTM_MEMORY_STORE_SEGMENT_LAYOUT_H_
#define MTM_MEMORY_STORE_SEGMENT_LAYOUT_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "memory_store/checked_file.h"
#include "memory_store/memory.h"

namespace mtm {

struct SegmentLayout {
  MemorySpec spec;
  std::vector<MemoryWindow> windows;
  int64_t n_tokens = 0;
  std::vector<FileSection> sections;  // ascending by offset
  uint64_t data_size = 0;             // where the table begins

  const FileSection& Find(std::string_view kind, int layer) const;  // precondition: it is there
  // Where a row of keys or values of a head lies in the file, and its size.
  uint64_t RowOffset(std::string_view kind, int layer, int head, int64_t row) const;
  uint64_t RowSize() const;
  uint64_t file_size() const { return data_size + TableSize(data_size); }
};

// INVALID_ARGUMENT names the field of a spec that is no memory: bad fingerprint, no or unordered layers, a
// number out of range.
absl::Status CheckSpec(const MemorySpec& spec);

// INVALID_ARGUMENT: none, one without tokens, more than a segment may have, or a label that is not UTF-8.
absl::Status CheckWindows(const MemorySpec& spec, const std::vector<MemoryWindow>& windows);

int64_t CountTokens(const std::vector<MemoryWindow>& windows);

// The writer's layout of what CheckSpec and CheckWindows accept. Digests of windows count with their full
// length, known or not.
SegmentLayout LayOut(MemorySpec spec, std::vector<MemoryWindow> windows);

// Bytes of a section of a kind that this version knows.
uint64_t SectionSize(const MemorySpec& spec, int64_t n_tokens, std::string_view kind);

// DATA_LOSS: a section lies outside the data, over another or not aligned, or a required one is not there
// once.
absl::Status CheckLayout(const SegmentLayout& layout, uint64_t head_size);

// ---- Digests (FORMAT.md), in hexadecimal.

// `settings`, which they cover.
std::string SettingsJson(const MemorySpec& spec);

// Of a version, or of a segment, with these windows.
std::string VersionDigest(const MemorySpec& spec, const std::vector<MemoryWindow>& windows);

// Bytes of a segment's file; valid until the next call.
using ReadBytes = std::function<absl::StatusOr<std::span<const std::byte>>(uint64_t offset, uint64_t size)>;

// Of the window at rows [first, first + n). Errors are those of `read`.
absl::StatusOr<std::string> WindowDigest(const SegmentLayout& layout, int64_t first, int64_t n,
                                         const ReadBytes& read);

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_SEGMENT_LAYOUT_H_
