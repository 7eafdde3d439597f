// SPDX-License-Identifier: Apache-2.0
#include "memory_store/inverted_file.h"

#include <faiss/Clustering.h>
#include <faiss/IndexFlat.h>
#include <faiss/utils/distances.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "memory_store/distance.h"
#include "memory_store/search.h"

namespace mtm {
namespace {

constexpr int kTrainRowsPerList = 64;
constexpr int kIterations = 10;
constexpr size_t kBatch = 1 << 14;  // rows
constexpr int64_t kMeasured = 256;  // keys
constexpr size_t kNearestCacheNumbers = 1 << 12;

// About n of rows [0, n_rows), ascending: one at random from each of n stretches.
std::vector<int64_t> SampleRows(int64_t n_rows, int64_t n, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<int64_t> rows;
  n = std::min(n, n_rows);
  for (int64_t i = 0; i < n; ++i) {
    const int64_t begin = n_rows * i / n;
    const int64_t end = n_rows * (i + 1) / n;
    rows.push_back(begin + static_cast<int64_t>(random() % static_cast<uint64_t>(end - begin)));
  }
  return rows;
}

// Half of the rows at most, so that others are left to measure with.
std::vector<int64_t> TrainRows(int64_t n_rows, int n_list, uint64_t seed) {
  const int64_t n =
      std::max<int64_t>(n_list, std::min<int64_t>(n_rows / 2, int64_t{kTrainRowsPerList} * n_list));
  return SampleRows(n_rows, n, seed);
}

StoredRows AsRows(std::span<const float> centroids, size_t dim) {
  return {.dtype = DataType::kF32,
          .data = reinterpret_cast<const std::byte*>(centroids.data()),
          .n = static_cast<int64_t>(centroids.size() / dim),
          .head_dim = static_cast<int>(dim)};
}

// Calls visit(first row, rows as floats, nearest centroid of each or -1) for one batch of rows after the
// other.
template <typename Visit>
void ForEachBatch(const StoredRows& keys, std::span<const float> centroids, Visit visit) {
  const auto dim = static_cast<size_t>(keys.head_dim);
  const auto n_rows = static_cast<size_t>(keys.n);
  std::vector<float> rows(std::min(kBatch, n_rows) * dim);
  std::vector<float> distances(kBatch);
  std::vector<int64_t> nearest(kBatch);
  for (size_t first = 0; first < n_rows; first += kBatch) {
    const size_t n = std::min(kBatch, n_rows - first);
    keys.Copy(static_cast<int64_t>(first), std::span(rows).first(n * dim));
    faiss::knn_L2sqr(rows.data(), centroids.data(), dim, n, centroids.size() / dim, 1, distances.data(),
                     nearest.data());
    visit(first, std::span<const float>(rows).first(n * dim), std::span<const int64_t>(nearest).first(n));
  }
}

}  // namespace

int ListCount(int64_t n_rows) {
  const auto root = static_cast<uint64_t>(std::ceil(std::sqrt(static_cast<double>(n_rows))));
  return static_cast<int>(std::bit_ceil(root));
}

absl::StatusOr<std::vector<float>> TrainCentroids(const StoredRows& keys, int n_list, uint64_t seed) {
  const auto dim = static_cast<size_t>(keys.head_dim);
  std::vector<float> sample;
  std::vector<float> row(dim);
  for (const int64_t i : TrainRows(keys.n, n_list, seed)) {
    keys.Copy(i, row);
    const bool finite = std::all_of(row.begin(), row.end(), [](float x) { return std::isfinite(x); });
    if (finite) sample.insert(sample.end(), row.begin(), row.end());
  }
  const size_t n_sample = sample.size() / dim;
  if (n_sample < static_cast<size_t>(n_list)) {
    return absl::FailedPreconditionError(
        absl::StrCat("only ", n_sample, " keys of a sample are finite, too few for ", n_list, " lists"));
  }
  faiss::ClusteringParameters parameters;
  parameters.niter = kIterations;
  parameters.seed = static_cast<int>(seed % std::numeric_limits<int>::max());
  parameters.min_points_per_centroid = 1;  // no warning: small segments have few
  parameters.max_points_per_centroid = std::numeric_limits<int>::max() / n_list;
  faiss::Clustering clustering(keys.head_dim, n_list, parameters);
  faiss::IndexFlatL2 centroids(keys.head_dim);
  clustering.train(static_cast<int64_t>(n_sample), sample.data(), centroids);
  return std::move(clustering.centroids);
}

std::vector<uint32_t> AssignRows(const StoredRows& keys, std::span<const float> centroids) {
  std::vector<uint32_t> list_of_row(static_cast<size_t>(keys.n));
  ForEachBatch(keys, centroids, [&](size_t first, std::span<const float>, std::span<const int64_t> nearest) {
    for (size_t i = 0; i < nearest.size(); ++i) {
      list_of_row[first + i] = static_cast<uint32_t>(std::max<int64_t>(nearest[i], 0));
    }
  });
  return list_of_row;
}

std::vector<std::vector<uint32_t>> NearestLists(const InvertedFile& file, std::span<const float> queries,
                                                size_t n, size_t n_rows) {
  const size_t dim = file.scales.size(), n_list = file.list_begins.size() - 1,
               n_queries = queries.size() / dim;
  const StoredRows centroids = AsRows(file.centroids, dim);
  std::vector<float> distances(n_queries * n_list);
  // All queries meet some of the centroids while these are in the nearest cache.
  const size_t block = std::max<size_t>(1, kNearestCacheNumbers / dim);
  for (size_t first = 0; first < n_list; first += block) {
    for (size_t q = 0; q < n_queries; ++q) {
      ApproximateDistances(centroids, static_cast<int64_t>(first), queries.subspan(q * dim, dim),
                           std::span(distances).subspan(q * n_list + first, std::min(block, n_list - first)));
    }
  }
  std::vector<uint64_t> order(n_list);
  std::vector<std::vector<uint32_t>> nearest(n_queries);
  for (size_t q = 0; q < n_queries; ++q) {
    // Numbers that are not negative have the order of their bits. Below them the list's number, for equal
    // ones.
    for (size_t i = 0; i < n_list; ++i) {
      const float distance = distances[q * n_list + i];
      const float number = std::isnan(distance) ? std::numeric_limits<float>::infinity() : distance;
      order[i] = uint64_t{std::bit_cast<uint32_t>(number)} << 32 | i;
    }
    nearest[q].reserve(n);
    size_t rows_seen = 0;
    for (auto next = order.begin(); next != order.end() && (nearest[q].size() < n || rows_seen < n_rows);) {
      const auto n_left = static_cast<size_t>(order.end() - next);
      const auto end = next + static_cast<std::ptrdiff_t>(std::min(n_left, std::max(n, nearest[q].size())));
      std::partial_sort(next, end, order.end());
      for (; next != end && (nearest[q].size() < n || rows_seen < n_rows); ++next) {
        const auto list = static_cast<uint32_t>(*next);
        nearest[q].push_back(list);
        rows_seen += file.list_begins[list + 1] - file.list_begins[list];
      }
    }
  }
  return nearest;
}

RecallMeter::RecallMeter(const StoredRows& keys, int n_list, uint64_t seed)
    : dim_(static_cast<size_t>(keys.head_dim)) {
  const std::vector<int64_t> trained = TrainRows(keys.n, n_list, seed);
  std::vector<int64_t> measured = SampleRows(keys.n, 2 * kMeasured, ~seed);
  std::erase_if(measured,
                [&](int64_t row) { return std::binary_search(trained.begin(), trained.end(), row); });
  if (measured.size() > kMeasured) {
    // Evenly from the whole range.
    const size_t n = measured.size();
    for (size_t i = 0; i < kMeasured; ++i) measured[i] = measured[i * n / kMeasured];
    measured.resize(kMeasured);
  }
  queries_.resize(measured.size() * dim_);
  for (size_t i = 0; i < measured.size(); ++i)
    keys.Copy(measured[i], std::span(queries_).subspan(i * dim_, dim_));
  const std::vector<Neighbour> found = NearestKeys(keys, queries_, kNeighbours + 1);
  nearest_.resize(measured.size());
  for (size_t i = 0; i < measured.size(); ++i) {
    const size_t n_found = found.size() / measured.size();
    for (size_t j = i * n_found; j < (i + 1) * n_found && nearest_[i].size() < kNeighbours; ++j) {
      if (found[j].position != measured[i]) nearest_[i].push_back(static_cast<uint32_t>(found[j].position));
    }
    n_neighbours_ += nearest_[i].size();
  }
}

std::vector<double> RecallMeter::OfLists(const InvertedFile& file,
                                         std::span<const uint32_t> list_of_row) const {
  const size_t n_list = file.list_begins.size() - 1;
  std::vector<int64_t> found(n_list + 1);  // [p]: neighbours in the p-th nearest list, from 1
  std::vector<size_t> rank(n_list);
  const std::vector<std::vector<uint32_t>> lists = NearestLists(file, queries_, n_list, 0);
  for (size_t i = 0; i < nearest_.size(); ++i) {
    for (size_t p = 0; p < n_list; ++p) rank[lists[i][p]] = p + 1;
    for (const uint32_t row : nearest_[i]) ++found[rank[list_of_row[row]]];
  }
  std::vector<double> recall(n_list + 1);
  int64_t sum = 0;
  for (size_t p = 0; p <= n_list; ++p) {
    sum += found[p];
    recall[p] = n_neighbours_ == 0 ? 1.0 : static_cast<double>(sum) / static_cast<double>(n_neighbours_);
  }
  return recall;
}

double RecallMeter::Of(const Propose& propose) const {
  if (n_neighbours_ == 0) return 1;
  size_t n_found = 0;
  std::vector<std::vector<uint32_t>> proposed = propose(queries_);
  for (size_t i = 0; i < nearest_.size(); ++i) {
    std::ranges::sort(proposed[i]);
    for (const uint32_t row : nearest_[i]) n_found += std::ranges::binary_search(proposed[i], row) ? 1 : 0;
  }
  return static_cast<double>(n_found) / static_cast<double>(n_neighbours_);
}

absl::Status CheckAssignment(const StoredRows& keys, std::span<const float> centroids,
                             std::span<const uint32_t> list_of_row) {
  const auto dim = static_cast<size_t>(keys.head_dim);
  const auto norm = [](std::span<const float> x) {
    double squares = 0;
    for (const float number : x) squares += static_cast<double>(number) * number;
    return std::sqrt(squares);
  };
  double centroid_norm = 0;
  for (size_t i = 0; i < centroids.size(); i += dim) {
    centroid_norm = std::max(centroid_norm, norm(centroids.subspan(i, dim)));
  }
  absl::Status status;
  ForEachBatch(
      keys, centroids, [&](size_t first, std::span<const float> rows, std::span<const int64_t> nearest) {
        for (size_t i = 0; i < nearest.size() && status.ok(); ++i) {
          const std::span<const float> row = rows.subspan(i * dim, dim);
          const auto list = static_cast<size_t>(list_of_row[first + i]);
          if (nearest[i] < 0 || static_cast<size_t>(nearest[i]) == list) continue;
          // Both were found with |x|^2 + |c|^2 - 2xc in float32.
          const double norms = norm(row) + centroid_norm;
          const double slack = 4 * RoundingUnit(dim) * norms * norms;
          const auto best = static_cast<size_t>(nearest[i]);
          if (ExactDistance(row, centroids.subspan(list * dim, dim)) >
              ExactDistance(row, centroids.subspan(best * dim, dim)) + slack) {
            status = absl::DataLossError(absl::StrCat("row ", first + i, " is in list ", list,
                                                      ", but nearest to the centroid of list ", best));
          }
        }
      });
  return status;
}

}  // namespace mtm
