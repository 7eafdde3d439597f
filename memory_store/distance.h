// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_MEMORY_STORE_DISTANCE_H_
#define MTM_MEMORY_STORE_DISTANCE_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "memory_store/cpu.h"
#include "memory_store/segment.h"

namespace mtm {

// Squared Euclidean distances, [rows.size()], of `query` [head_dim] to rows of `keys`. Fast: summed in
// float32 in no fixed order, so that two processors may differ in the last bits.
void ApproximateDistances(const StoredRows& keys, std::span<const uint32_t> rows,
                          std::span<const float> query, std::span<float> distances, Isa isa = BestIsa());

// The same to rows [first, first + distances.size()).
void ApproximateDistances(const StoredRows& keys, int64_t first, std::span<const float> query,
                          std::span<float> distances, Isa isa = BestIsa());

// Directly from the differences, in double, rounded to float: the same everywhere. No number counts as
// infinite. [dim] each.
float ExactDistance(std::span<const float> a, std::span<const float> b);

// What a sum of `dim` products in float32 is off by at most, relative to the sum of their magnitudes.
double RoundingUnit(size_t dim);

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_DISTANCE_H_
