// SPDX-License-Identifier: Apache-2.0
#include "memory_store/search.h"

#include <faiss/utils/distances.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

namespace mtm {
namespace {

// Enough for the exact ties and near ties of real keys, so that the scan is the exception.
constexpr size_t kExtraCandidates = 8;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

float SquaredDistance(const float* a, const float* b, size_t dim) {
  double sum = 0;
  for (size_t i = 0; i < dim; ++i) {
    const double difference = static_cast<double>(a[i]) - b[i];
    sum += difference * difference;
  }
  const auto distance = static_cast<float>(sum);
  return std::isnan(distance) ? kInfinity : distance;
}

bool Nearer(const Neighbour& a, const Neighbour& b) {
  return a.distance != b.distance ? a.distance < b.distance : a.position < b.position;
}

class Searcher {
 public:
  Searcher(std::span<const float> keys, size_t dim, size_t n_queries, size_t k)
      : keys_(keys.data()),
        dim_(dim),
        n_keys_(keys.size() / dim),
        k_(std::min(k, n_keys_)),
        n_candidates_(std::min(n_keys_, k_ + kExtraCandidates)),
        batched_(n_queries >= static_cast<size_t>(faiss::distance_compute_blas_threshold)) {}

  size_t k() const { return k_; }

  void Search(std::span<const float> queries, std::vector<Neighbour>& result) const {
    const size_t n_queries = queries.size() / dim_;
    std::vector<float> distances(n_queries * n_candidates_);
    std::vector<int64_t> positions(n_queries * n_candidates_);  // faiss::idx_t in every version
    faiss::knn_L2sqr(queries.data(), keys_, dim_, n_queries, n_keys_, n_candidates_, distances.data(),
                     positions.data());
    for (size_t q = 0; q < n_queries; ++q) {
      const size_t row = q * n_candidates_;
      Rank(&queries[q * dim_], &distances[row], &positions[row], result);
    }
  }

 private:
  void Rank(const float* query, const float* proposed, const int64_t* positions,
            std::vector<Neighbour>& result) const {
    std::vector<Neighbour> ranked;
    ranked.reserve(n_candidates_);
    for (size_t i = 0; i < n_candidates_ && positions[i] >= 0; ++i) ranked.push_back(At(query, positions[i]));
    std::sort(ranked.begin(), ranked.end(), Nearer);
    // FAISS pads with -1 where distances are no number.
    const bool complete =
        ranked.size() == n_candidates_ &&
        (n_candidates_ == n_keys_ || IsComplete(query, ranked[k_ - 1].distance, proposed[n_candidates_ - 1]));
    if (!complete) ranked = Scan(query);
    result.insert(result.end(), ranked.begin(), ranked.begin() + static_cast<int64_t>(k_));
  }

  Neighbour At(const float* query, int64_t position) const {
    return {.position = position,
            .distance = SquaredDistance(query, keys_ + static_cast<size_t>(position) * dim_, dim_)};
  }

  // Can no key outside the candidates, all of which FAISS takes to be `farthest` away or farther, be within
  // `kth`? Its distance would have to be off by more than float32 can be: relative to itself where FAISS sums
  // squares of differences, relative to the norms where it takes |x|^2 + |y|^2 - 2xy, with |y| <= |x| +
  // sqrt(kth) by the triangle inequality.
  bool IsComplete(const float* query, double kth, double farthest) const {
    const double unit = std::numeric_limits<float>::epsilon() * (static_cast<double>(dim_) + 8);
    double slack = unit * kth;
    if (batched_) {
      double squares = 0;
      for (size_t i = 0; i < dim_; ++i) squares += static_cast<double>(query[i]) * query[i];
      const double norms = 2 * std::sqrt(squares) + std::sqrt(kth);
      slack = unit * norms * norms;
    }
    return farthest > kth + slack;  // false where anything is no number
  }

  std::vector<Neighbour> Scan(const float* query) const {
    std::vector<Neighbour> all;
    all.reserve(n_keys_);
    for (size_t i = 0; i < n_keys_; ++i) all.push_back(At(query, static_cast<int64_t>(i)));
    std::partial_sort(all.begin(), all.begin() + static_cast<int64_t>(k_), all.end(), Nearer);
    return all;
  }

  const float* keys_;
  size_t dim_;
  size_t n_keys_;
  size_t k_;
  size_t n_candidates_;
  bool batched_;
};

}  // namespace

std::vector<Neighbour> NearestKeys(std::span<const float> keys, int dim, std::span<const float> queries,
                                   int k) {
  const size_t n_queries = queries.size() / static_cast<size_t>(dim);
  const Searcher searcher(keys, static_cast<size_t>(dim), n_queries, static_cast<size_t>(k));
  std::vector<Neighbour> result;
  result.reserve(n_queries * searcher.k());
  if (n_queries > 0) searcher.Search(queries, result);
  return result;
}

}  // namespace mtm
