// SPDX-License-Identifier: Apache-2.0
#include "server/model/mix.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace mtm {
namespace {

// In double: TS = 1000 makes a float's rounding visible in the weights.
double Dot(std::span<const float> a, const float* b) {
  return std::transform_reduce(a.begin(), a.end(), b, 0.0, std::plus<>(),
                               [](float x, float y) { return double(x) * y; });
}

// softmax(scale * scores) in place. The scale comes after the difference, which no scale can then turn into
// inf - inf.
void Softmax(std::span<double> scores, double scale) {
  const double max = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (double& score : scores) sum += score = score == max ? 1 : std::exp((score - max) * scale);
  for (double& score : scores) score /= sum;
}

}  // namespace

Mix RankAndMix(const MemoryParameters& parameters, const OwnRow& own, std::span<const float> keys,
               std::span<const float> values, std::span<float> mixed) {
  const size_t d = own.query.size(), n_found = keys.size() / d;
  const bool own_competes = parameters.method != Method::kType2;
  const double scale = parameters.score_scale / std::sqrt(double(d));

  // Candidates: the own row first, where it competes.
  std::vector<double> weights;
  weights.reserve(n_found + 1);
  if (own_competes) weights.push_back(Dot(own.query, own.key.data()));
  for (size_t n = 0; n < n_found; ++n) weights.push_back(Dot(own.query, keys.data() + n * d));
  Softmax(weights, scale);
  const std::span<const double> found_weights = std::span(weights).last(n_found);

  const double residual = parameters.method == Method::kType1 ? 0 : parameters.residual_fraction;
  for (size_t i = 0; i < d; ++i) {
    double m = 0;
    if (own_competes) m += weights[0] * own.value[i];
    for (size_t n = 0; n < n_found; ++n) m += found_weights[n] * values[n * d + i];
    mixed[i] = static_cast<float>((1 - residual) * m + residual * own.value[i]);
  }
  Mix mix;
  mix.own_weight = own_competes ? static_cast<float>(weights[0]) : 0.f;
  mix.weights.assign(found_weights.begin(), found_weights.end());
  return mix;
}

}  // namespace mtm
