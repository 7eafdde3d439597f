// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_MEMORY_STORE_SEARCH_H_
#define MTM_MEMORY_STORE_SEARCH_H_

#include <span>
#include <vector>

#include "memory_store/memory.h"

namespace mtm {

// For each of the queries [n, dim] the min(k, n_keys) nearest of keys [n_keys, dim], by (distance, position);
// laid out [n, min(k, n_keys)]. FAISS proposes candidates straight from the span, nothing is copied or built;
// their distances are then computed from the differences, in double, rounded to float and ranked. The result
// is exact: where rounding or ties could have kept a neighbour from the candidates, that query is answered by
// a plain scan. Distances that are no number count as infinite. Thread-safe. Precondition: k >= 1, dim >= 1,
// no empty keys.
std::vector<Neighbour> NearestKeys(std::span<const float> keys, int dim, std::span<const float> queries,
                                   int k);

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_SEARCH_H_
