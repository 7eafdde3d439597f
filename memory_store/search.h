// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_MEMORY_STORE_SEARCH_H_
#define MTM_MEMORY_STORE_SEARCH_H_

#include <cstdint>
#include <span>
#include <vector>

#include "memory_store/memory.h"
#include "memory_store/segment.h"

namespace mtm {

// By distance, then by position.
inline bool Nearer(const Neighbour& a, const Neighbour& b) {
  return a.distance != b.distance ? a.distance < b.distance : a.position < b.position;
}

// For each of the queries [n, dim] the min(k, keys.n) nearest of `keys`, nearest first; laid out
// [n, min(k, keys.n)]. A loop in float32, or FAISS where queries are many, proposes candidates, from the
// stored rows or from blocks of them; their distances are then computed from the differences, in double,
// rounded to float and ranked. The result is exact: where rounding or ties could have kept a neighbour from
// the candidates, that query is answered by a plain scan. Distances that are no number count as infinite.
// Thread-safe. Precondition: k >= 1, no empty keys.
std::vector<Neighbour> NearestKeys(const StoredRows& keys, std::span<const float> queries, int k);

// The same for one query [dim] and among some rows only: min(k, rows.size()). Precondition: rows differ.
std::vector<Neighbour> NearestAmong(const StoredRows& keys, std::span<const uint32_t> rows,
                                    std::span<const float> query, int k);

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_SEARCH_H_
