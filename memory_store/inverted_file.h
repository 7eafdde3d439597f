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

// For each of the queries [n_queries, head_dim] the `n` lists whose centroids are the nearest, nearest first;
// more where these have fewer than `n_rows` rows, until there are as many or no further list. Precondition: n
// <= n_list.
std::vector<std::vector<uint32_t>> NearestLists(const InvertedFile& file, std::span<const float> queries,
                                                size_t n, size_t n_rows);

// What some of the keys find of their 10 nearest others, found once by an exact search. The keys are some
// that TrainCentroids, with this seed, did not see.
class RecallMeter {
 public:
  RecallMeter(const StoredRows& keys, int n_list, uint64_t seed);

  // recall[p]: the share in the p nearest lists. p = 0..n_list; ascending to 1.
  std::vector<double> OfLists(const InvertedFile& file, std::span<const uint32_t> list_of_row) const;

  // The share that `propose` proposes: rows for each of the keys [n, head_dim].
  using Propose = std::function<std::vector<std::vector<uint32_t>>(std::span<const float> keys)>;
  double Of(const Propose& propose) const;

  static constexpr int kNeighbours = 10;

 private:
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
