// SPDX-License-Identifier: Apache-2.0
#include "memory_store/search.h"

#include <faiss/utils/distances.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "memory_store/distance.h"

namespace mtm {
namespace {

// Enough for the exact ties and near ties of real keys, so that the scan is the exception.
constexpr size_t kExtraCandidates = 8;

// Numbers of a block of keys that all queries are compared with while it is in the nearest cache: 32 or 16
// KiB.
constexpr size_t kLoopNumbers = 1 << 13;

// Of a block of converted keys: 1 MiB.
constexpr size_t kProductNumbers = 1 << 18;

class ExactDistances {
 public:
  ExactDistances(const StoredRows& keys, std::span<const float> query)
      : keys_(keys), query_(query), row_(query.size()) {}

  Neighbour At(int64_t position) {
    keys_.Copy(position, row_);
    return {.position = position, .distance = ExactDistance(query_, row_)};
  }

 private:
  const StoredRows& keys_;
  const std::span<const float> query_;
  std::vector<float> row_;
};

// The first k of all, in order.
std::vector<Neighbour> First(std::vector<Neighbour> all, size_t k) {
  const auto end = all.begin() + static_cast<std::ptrdiff_t>(std::min(k, all.size()));
  std::partial_sort(all.begin(), end, all.end(), Nearer);
  all.erase(end, all.end());
  return all;
}

class Searcher {
 public:
  Searcher(const StoredRows& keys, std::span<const float> queries, size_t k)
      : keys_(keys),
        queries_(queries),
        dim_(static_cast<size_t>(keys.head_dim)),
        n_keys_(static_cast<size_t>(keys.n)),
        n_queries_(queries.size() / dim_),
        k_(std::min(k, n_keys_)),
        n_candidates_(std::min(n_keys_, k_ + kExtraCandidates)),
        batched_(n_queries_ >= static_cast<size_t>(faiss::distance_compute_blas_threshold)),
        candidates_(n_queries_) {}

  std::vector<Neighbour> Search() {
    Propose();
    std::vector<Neighbour> result;
    result.reserve(n_queries_ * k_);
    for (size_t q = 0; q < n_queries_; ++q) {
      const std::vector<Neighbour> ranked = Rank(queries_.subspan(q * dim_, dim_), candidates_[q]);
      result.insert(result.end(), ranked.begin(), ranked.end());
    }
    return result;
  }

 private:
  // Fills candidates_: for each query those that are nearest by distances in float32. The loop is several
  // times as fast as FAISS's own; a product of matrices is faster still where there are many queries.
  void Propose() {
    if (!batched_) {
      ProposeByLoop();
    } else if (keys_.dtype == DataType::kF32) {
      ProposeByProduct(reinterpret_cast<const float*>(keys_.data), 0, n_keys_);
    } else {
      const size_t block = std::min(n_keys_, std::max<size_t>(1, kProductNumbers / dim_));
      std::vector<float> rows(block * dim_);
      for (size_t first = 0; first < n_keys_; first += block) {
        const size_t n = std::min(block, n_keys_ - first);
        keys_.Copy(static_cast<int64_t>(first), std::span(rows).first(n * dim_));
        ProposeByProduct(rows.data(), first, n);
      }
    }
    for (std::vector<Neighbour>& candidates : candidates_)
      std::sort(candidates.begin(), candidates.end(), Nearer);
  }

  void ProposeByLoop() {
    const size_t block = std::min(n_keys_, std::max<size_t>(1, kLoopNumbers / dim_));
    std::vector<float> distances(block);
    for (size_t first = 0; first < n_keys_; first += block) {
      const size_t n = std::min(block, n_keys_ - first);
      for (size_t q = 0; q < n_queries_; ++q) {
        const std::span<float> found = std::span(distances).first(n);
        ApproximateDistances(keys_, static_cast<int64_t>(first), queries_.subspan(q * dim_, dim_), found);
        float farthest = Farthest(candidates_[q]);
        for (size_t i = 0; i < n; ++i) {
          if (found[i] > farthest) continue;  // the most of them
          Consider(candidates_[q], {.position = static_cast<int64_t>(first + i), .distance = found[i]});
          farthest = Farthest(candidates_[q]);
        }
      }
    }
  }

  void ProposeByProduct(const float* rows, size_t first, size_t n) {
    const size_t n_found = std::min(n, n_candidates_);
    std::vector<float> distances(n_queries_ * n_found);
    std::vector<int64_t> positions(n_queries_ * n_found);  // faiss::idx_t in every version
    faiss::knn_L2sqr(queries_.data(), rows, dim_, n_queries_, n, n_found, distances.data(), positions.data());
    for (size_t q = 0; q < n_queries_; ++q) {
      // FAISS pads with -1 where distances are no number.
      for (size_t i = q * n_found; i < (q + 1) * n_found && positions[i] >= 0; ++i) {
        Consider(candidates_[q],
                 {.position = static_cast<int64_t>(first) + positions[i], .distance = distances[i]});
      }
    }
  }

  // Of the candidates, beyond which no further one is wanted.
  float Farthest(const std::vector<Neighbour>& candidates) const {
    return candidates.size() < n_candidates_ ? std::numeric_limits<float>::infinity()
                                             : candidates.front().distance;
  }

  // Keeps the n_candidates_ nearest, the farthest of them first, and none whose distance is no number.
  void Consider(std::vector<Neighbour>& candidates, const Neighbour& neighbour) const {
    if (candidates.size() < n_candidates_) {
      if (std::isnan(neighbour.distance)) return;
    } else {
      if (!Nearer(neighbour, candidates.front())) return;
      std::pop_heap(candidates.begin(), candidates.end(), Nearer);
      candidates.pop_back();
    }
    candidates.push_back(neighbour);
    std::push_heap(candidates.begin(), candidates.end(), Nearer);
  }

  std::vector<Neighbour> Rank(std::span<const float> query, const std::vector<Neighbour>& candidates) const {
    ExactDistances exact(keys_, query);
    std::vector<Neighbour> ranked;
    ranked.reserve(candidates.size());
    for (const Neighbour& candidate : candidates) ranked.push_back(exact.At(candidate.position));
    ranked = First(std::move(ranked), k_);
    const bool complete =
        candidates.size() == n_candidates_ &&
        (n_candidates_ == n_keys_ || IsComplete(query, ranked.back().distance, candidates.back().distance));
    return complete ? ranked : Scan(exact);
  }

  // Can no key outside the candidates, all of which were taken to be `farthest` away or farther, be within
  // `kth`? Its distance would have to be off by more than float32 can be: relative to itself where the loop
  // sums squares of differences, relative to the norms where FAISS takes |x|^2 + |y|^2 - 2xy, with |y| <= |x|
  // + sqrt(kth) by the triangle inequality.
  bool IsComplete(std::span<const float> query, double kth, double farthest) const {
    double slack = RoundingUnit(dim_) * kth;
    if (batched_) {
      double squares = 0;
      for (const float x : query) squares += static_cast<double>(x) * x;
      const double norms = 2 * std::sqrt(squares) + std::sqrt(kth);
      slack = RoundingUnit(dim_) * norms * norms;
    }
    return farthest > kth + slack;  // false where anything is no number
  }

  std::vector<Neighbour> Scan(ExactDistances& exact) const {
    std::vector<Neighbour> all;
    all.reserve(n_keys_);
    for (int64_t i = 0; i < keys_.n; ++i) all.push_back(exact.At(i));
    return First(std::move(all), k_);
  }

  const StoredRows& keys_;
  const std::span<const float> queries_;
  const size_t dim_;
  const size_t n_keys_;
  const size_t n_queries_;
  const size_t k_;
  const size_t n_candidates_;
  const bool batched_;
  std::vector<std::vector<Neighbour>> candidates_;  // of each query, nearest first
};

}  // namespace

std::vector<Neighbour> NearestKeys(const StoredRows& keys, std::span<const float> queries, int k) {
  if (queries.empty()) return {};
  return Searcher(keys, queries, static_cast<size_t>(k)).Search();
}

std::vector<Neighbour> NearestAmong(const StoredRows& keys, std::span<const uint32_t> rows,
                                    std::span<const float> query, int k) {
  std::vector<float> distances(rows.size());
  ApproximateDistances(keys, rows, query, distances);
  std::vector<Neighbour> all(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    const float distance = std::isnan(distances[i]) ? std::numeric_limits<float>::infinity() : distances[i];
    all[i] = {.position = rows[i], .distance = distance};
  }
  const size_t n_ranked = std::min(rows.size(), static_cast<size_t>(k));
  const size_t n_candidates = std::min(rows.size(), n_ranked + kExtraCandidates);
  const auto candidates_end = all.begin() + static_cast<std::ptrdiff_t>(n_candidates);
  std::partial_sort(all.begin(), candidates_end, all.end(), Nearer);

  ExactDistances exact(keys, query);
  std::vector<Neighbour> ranked;
  for (auto candidate = all.begin(); candidate != candidates_end; ++candidate) {
    ranked.push_back(exact.At(candidate->position));
  }
  ranked = First(std::move(ranked), n_ranked);
  if (n_candidates == rows.size()) return ranked;
  const double kth = ranked.back().distance;
  const double farthest = (candidates_end - 1)->distance;
  if (farthest > kth + RoundingUnit(query.size()) * kth) return ranked;
  for (Neighbour& neighbour : all) neighbour = exact.At(neighbour.position);
  return First(std::move(all), n_ranked);
}

}  // namespace mtm
