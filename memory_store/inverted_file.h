// SPDX-License-Identifier: Apache-2.0
// The inverted file of one (layer, head): how its lists are made, found and measured.
#ifndef MTM_MEMORY_STORE_INVERTED_FILE_H_
#define MTM_MEMORY_STORE_INVERTED_FILE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "memory_store/segment.h"

namespace mtm {

// About the square root of the number of rows: 1024 for a million.
int ListCount(int64_t n_rows);

// Centroids [n_list, head_dim] of k-means over a sample of the keys, the same for the same seed.
// FAILED_PRECONDITION: too few keys are finite.
absl::StatusOr<std::vector<float>> TrainCentroids(const StoredRows& keys, int n_list, uint64_t seed);

// For each row the list of its nearest centroid, [n_rows].
std::vector<uint32_t> AssignRows(const StoredRows& keys, std::span<const float> centroids);

// The lists whose centroids are the `n` nearest to `query` [head_dim], nearest first.
std::vector<uint32_t> NearestLists(std::span<const float> centroids, std::span<const float> query, size_t n);

// recall[p]: with p lists probed, the share found of the 10 nearest other keys of some keys that
// TrainCentroids, with this seed, did not see. p = 0..n_list; ascending to 1.
std::vector<double> MeasureRecall(const StoredRows& keys, std::span<const float> centroids,
                                  std::span<const uint32_t> list_of_row, uint64_t seed);

// DATA_LOSS: a row's list is not that of its nearest centroid, and rounding does not explain it.
absl::Status CheckAssignment(const StoredRows& keys, std::span<const float> centroids,
                             std::span<const uint32_t> list_of_row);

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_INVERTED_FILE_H_
