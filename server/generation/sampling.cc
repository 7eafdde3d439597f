// SPDX-License-Identifier: Apache-2.0
#include "server/generation/sampling.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <vector>

namespace mtm {
namespace {

// Ids whose logits are not below the k-th highest, in the order of ids.
std::vector<int32_t> TopK(std::span<const float> logits, int k) {
  std::vector<int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  if (k <= 0 || static_cast<size_t>(k) >= logits.size()) return ids;
  std::vector<float> sorted(logits.begin(), logits.end());
  std::nth_element(sorted.begin(), sorted.begin() + (k - 1), sorted.end(), std::greater<>());
  const float threshold = sorted[k - 1];
  std::erase_if(ids, [&](int32_t id) { return logits[id] < threshold; });
  return ids;
}

// exp((logit - max) / temperature) of each id: not normalised.
std::vector<double> Weights(std::span<const float> logits, const std::vector<int32_t>& ids, double temperature) {
  const double max = *std::max_element(logits.begin(), logits.end());
  std::vector<double> weights;
  weights.reserve(ids.size());
  for (int32_t id : ids) weights.push_back(std::exp((logits[id] - max) / temperature));
  return weights;
}

// Keeps the fewest ids, most probable first (lower id on ties), whose mass reaches p; at least one.
void LimitToTopP(double p, std::vector<int32_t>& ids, std::vector<double>& weights) {
  if (p >= 1) return;
  std::vector<size_t> order(ids.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return weights[a] > weights[b]; });
  const double target = p * std::accumulate(weights.begin(), weights.end(), 0.0);
  double mass = 0;
  size_t kept = 0;
  while (kept < order.size() && (kept == 0 || mass < target)) mass += weights[order[kept++]];
  std::vector<int32_t> kept_ids;
  std::vector<double> kept_weights;
  for (size_t i = 0; i < kept; ++i) {
    kept_ids.push_back(ids[order[i]]);
    kept_weights.push_back(weights[order[i]]);
  }
  ids = std::move(kept_ids);
  weights = std::move(kept_weights);
}

}  // namespace

int32_t SampleToken(std::span<const float> logits, const SamplingParameters& parameters, double draw) {
  if (parameters.temperature == 0) {
    return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  }
  std::vector<int32_t> ids = TopK(logits, parameters.top_k);
  std::vector<double> weights = Weights(logits, ids, parameters.temperature);
  LimitToTopP(parameters.top_p, ids, weights);
  const double target = draw * std::accumulate(weights.begin(), weights.end(), 0.0);
  double mass = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    mass += weights[i];
    if (target < mass) return ids[i];
  }
  // Rounding can leave the target at the sum: the last id that has any mass.
  size_t last = ids.size() - 1;
  while (last > 0 && weights[last] == 0) --last;
  return ids[last];
}

TokenDetail Describe(std::span<const float> logits, int32_t chosen, int n_top) {
  const double max = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (float logit : logits) sum += std::exp(logit - max);
  const double log_sum = max + std::log(sum);

  TokenDetail detail{{chosen, logits[chosen] - log_sum}, {}};
  std::vector<int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  const size_t n = std::min<size_t>(n_top, ids.size());
  std::partial_sort(ids.begin(), ids.begin() + static_cast<ptrdiff_t>(n), ids.end(), [&](int32_t a, int32_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  });
  for (size_t i = 0; i < n; ++i) detail.top.push_back({ids[i], logits[ids[i]] - log_sum});
  return detail;
}

}  // namespace mtm
