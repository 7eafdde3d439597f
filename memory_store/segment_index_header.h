// SPDX-License-Identifier: Apache-2.0
// An index file's preamble and header, and what they must say of a segment.
#ifndef MTM_MEMORY_STORE_SEGMENT_INDEX_HEADER_H_
#define MTM_MEMORY_STORE_SEGMENT_INDEX_HEADER_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "memory_store/checked_file.h"
#include "memory_store/memory.h"

namespace mtm {

struct FilePart {
  uint64_t offset = 0;
  uint64_t size = 0;
};

struct SegmentIndexHead {
  std::string segment;  // digest
  int n_list = 0;
  std::vector<std::vector<int>> n_probe;  // [layers kept][n_head]
  double recall = 0;
  uint64_t seed = 0;
  std::vector<FileSection> sections;  // ascending by offset
  uint64_t data_size = 0;

  const FileSection& Find(std::string_view kind, int layer) const;  // precondition: it is there
  FilePart Part(std::string_view kind, int layer, int head, const MemorySpec& spec) const;  // likewise
  uint64_t file_size() const { return data_size + TableSize(data_size); }
};

// Places the sections of an index of a segment of this spec, with room for whatever n_probe and recall will
// be.
void LayOut(SegmentIndexHead& head, const MemorySpec& spec, int64_t n_tokens);

std::string EncodeHead(const SegmentIndexHead& head);

// `head` is preamble and header. DATA_LOSS: damaged; FAILED_PRECONDITION: of another version.
absl::StatusOr<SegmentIndexHead> DecodeIndexHead(std::span<const std::byte> head);

// DATA_LOSS: it is not of a segment of this digest, spec and size.
absl::Status CheckIndexHead(const SegmentIndexHead& head, std::string_view segment, const MemorySpec& spec,
                            int64_t n_tokens);

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_SEGMENT_INDEX_HEADER_H_
