// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_MEMORY_STORE_CODE_SEARCH_H_
#define MTM_MEMORY_STORE_CODE_SEARCH_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "memory_store/inverted_file.h"

namespace mtm {

// For each of the queries [n_queries, head_dim] the `n` rows of its lists (nearest first), or all where there
// are no more, that are nearest to it as far as their codes tell, in no order. Queries that share a list
// share its reading; what a query gets does not depend on the others.
std::vector<std::vector<uint32_t>> NearestByCodes(const InvertedFile& file,
                                                  std::span<const std::vector<uint32_t>> lists,
                                                  std::span<const float> queries, size_t n);

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_CODE_SEARCH_H_
