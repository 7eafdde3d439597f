// SPDX-License-Identifier: Apache-2.0
// The inverted file of one (layer, head): how its lists are made, found and measured.
#ifndef MTM_MEMORY_STORE_INVERTED_FILE_H_
#define MTM_MEMORY_STORE_INVERTED_FILE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "memory_store/segment.h"

namespace mtm {

// As it lies in an index's file.
struct InvertedFile {
  std::span<const float> centroids;       // [n_list, head_dim]
  std::span<const uint32_t> list_begins;  // [n_list + 1]
  std::span<const uint32_t> rows;         // [n_rows]: list after list, ascending in each
  std::span<const float> scales;          // [head_dim], of residuals (residual_codes.h)
  std::span<const uint8_t> codes;         // [CodesSize(n_rows, head_dim)]
};

// About the square root of the number of rows: 1024 for a million.
int ListCount(int64_t n_rows);

// Centroids [n_list, head_dim] of k-means over a sample of the keys, the same for the same seed.
// FAILED_PRECONDITION: too few keys are finite.
absl::StatusOr<std::vector<float>> TrainCentroids(const StoredRows& keys, int n_list, uint64_t seed);

// For each row the list of its nearest centroid, [n_rows].
std::vector<uint32_t> AssignRows(const StoredRows& keys, std::span<const float> centroids);

// The lists whose centroids are the `n` nearest to `query` [head_dim], nearest first.
std::vector<uint32_t> NearestLists(std::span<const float> centroids, std::span<const float> query, size_t n);

// What some of the keys find of their 10 nearest others, found once by an exact search. The keys are some
// that TrainCentroids, with this seed, did not see.
class RecallMeter {
 public:
  RecallMeter(const StoredRows& keys, int n_list, uint64_t seed);

  // recall[p]: the share in the p nearest lists. p = 0..n_list; ascending to 1.
  std::vector<double> OfLists(std::span<const float> centroids, std::span<const uint32_t> list_of_row) const;

  // The share that `propose`(key, rows) proposes, which is called for each key [head_dim] with no rows.
  using Propose = std::function<void(std::span<const float> key, std::vector<uint32_t>& rows)>;
  double Of(const Propose& propose) const;

  static constexpr int kNeighbours = 10;

 private:
  std::span<const float> Query(size_t i) const;

  size_t dim_;
  std::vector<float> queries_;                  // [measured, head_dim]
  std::vector<std::vector<uint32_t>> nearest_;  // of each query
  size_t n_neighbours_ = 0;                     // of all
};

// DATA_LOSS: a row's list is not that of its nearest centroid, and rounding does not explain it.
absl::Status CheckAssignment(const StoredRows& keys, std::span<const float> centroids,
                             std::span<const uint32_t> list_of_row);

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_INVERTED_FILE_H_
