// SPDX-License-Identifier: Apache-2.0
// What a SegmentIndex is made of: for itself and its builder.
#ifndef MTM_MEMORY_STORE_SEGMENT_INDEX_DATA_H_
#define MTM_MEMORY_STORE_SEGMENT_INDEX_DATA_H_

#include <cstdint>
#include <vector>

#include "memory_store/memory.h"
#include "memory_store/segment_index.h"
#include "memory_store/segment_index_header.h"

namespace mtm {

struct SegmentIndex::Data {
  // Of one (layer, head).
  struct Lists {
    std::vector<float> centroids;       // [n_list, head_dim]
    std::vector<uint32_t> list_begins;  // [n_list + 1]
    std::vector<uint32_t> rows;         // [n_tokens]: list after list, ascending in each
    int n_probe = 0;
  };

  SegmentIndexHead head;
  MemorySpec spec;
  std::vector<Lists> lists;  // [layers kept, n_head]
};

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_SEGMENT_INDEX_DATA_H_
