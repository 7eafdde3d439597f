// SPDX-License-Identifier: Apache-2.0
// What a SegmentIndex is made of: for itself and its builder.
#ifndef MTM_MEMORY_STORE_SEGMENT_INDEX_DATA_H_
#define MTM_MEMORY_STORE_SEGMENT_INDEX_DATA_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "memory_store/file_system.h"
#include "memory_store/inverted_file.h"
#include "memory_store/memory.h"
#include "memory_store/segment_index.h"
#include "memory_store/segment_index_header.h"

namespace mtm {

struct SegmentIndex::Data {
  SegmentIndexHead head;
  MemorySpec spec;
  std::unique_ptr<const FileMapping> mapping;
  std::vector<InvertedFile> files;  // [layers kept, n_head], in the mapping

  int n_probe(size_t i) const {
    const auto n_head = static_cast<size_t>(spec.n_head);
    return head.n_probe[i / n_head][i % n_head];
  }
};

// Propose's rows in one (layer, head) with this many lists probed.
std::vector<std::vector<uint32_t>> ProposeRows(const InvertedFile& file, int n_probe,
                                               std::span<const float> queries, int k);

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_SEGMENT_INDEX_DATA_H_
