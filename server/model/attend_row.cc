// SPDX-License-Identifier: Apache-2.0
#include "server/model/attend_row.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "server/model/exp.h"

namespace mtm {
namespace {

// Independent sums, which a compiler keeps in vector registers.
constexpr size_t kLanes = 16;

[[gnu::always_inline]] inline float Sum(const float* lanes) {
  float pairs[kLanes / 2];
  for (size_t i = 0; i < kLanes / 2; ++i) pairs[i] = lanes[i] + lanes[i + kLanes / 2];
  for (size_t width = kLanes / 4; width > 0; width /= 2) {
    for (size_t i = 0; i < width; ++i) pairs[i] += pairs[i + width];
  }
  return pairs[0];
}

[[gnu::always_inline]] inline float Dot(const float* a, const float* b, size_t n) {
  float lanes[kLanes] = {};
  const size_t whole = n / kLanes * kLanes;
  for (size_t i = 0; i < whole; i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) lanes[j] += a[i + j] * b[i + j];
  }
  float sum = Sum(lanes);
  for (size_t i = whole; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

// out[0, kWidth) = sum of weights[i] * values[i, 0..kWidth)
template <size_t kWidth>
[[gnu::always_inline]] inline void WeightedSum(std::span<const float> weights, const float* values,
                                               size_t stride, float* out) {
  float lanes[kWidth] = {};
  for (size_t i = 0; i < weights.size(); ++i) {
    for (size_t j = 0; j < kWidth; ++j) lanes[j] += weights[i] * values[i * stride + j];
  }
  std::copy(lanes, lanes + kWidth, out);
}

[[gnu::always_inline]] inline void AttendRowHere(std::span<const float> query, const float* keys,
                                                 const float* values, std::span<float> scores,
                                                 std::span<float> out) {
  const size_t n = scores.size(), dim = query.size();
  const float scale = 1 / std::sqrt(static_cast<float>(dim));
  for (size_t i = 0; i < n; ++i) scores[i] = Dot(query.data(), keys + i * dim, dim) * scale;

  const float largest = *std::max_element(scores.begin(), scores.end());
  for (size_t i = 0; i < n; ++i) scores[i] = Exp(scores[i] - largest);
  float lanes[kLanes] = {};
  const size_t whole = n / kLanes * kLanes;
  for (size_t i = 0; i < whole; i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) lanes[j] += scores[i + j];
  }
  float sum = Sum(lanes);
  for (size_t i = whole; i < n; ++i) sum += scores[i];

  size_t at = 0;
  for (; at + 64 <= dim; at += 64) WeightedSum<64>(scores, values + at, dim, &out[at]);
  for (; at + 16 <= dim; at += 16) WeightedSum<16>(scores, values + at, dim, &out[at]);
  for (; at < dim; ++at) WeightedSum<1>(scores, values + at, dim, &out[at]);
  for (float& x : out) x /= sum;
}

#if defined(__x86_64__)

#define MTM_AVX2 __attribute__((target("avx2,fma")))
#define MTM_AVX512 __attribute__((target("avx512f,prefer-vector-width=512")))

MTM_AVX2 void Avx2AttendRow(std::span<const float> query, const float* keys, const float* values,
                            std::span<float> scores, std::span<float> out) {
  AttendRowHere(query, keys, values, scores, out);
}

MTM_AVX512 void Avx512AttendRow(std::span<const float> query, const float* keys, const float* values,
                                std::span<float> scores, std::span<float> out) {
  AttendRowHere(query, keys, values, scores, out);
}

#endif

}  // namespace

void AttendRow(std::span<const float> query, const float* keys, const float* values, std::span<float> scores,
               std::span<float> out, [[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
  if (isa >= Isa::kAvx512) return Avx512AttendRow(query, keys, values, scores, out);
  if (isa >= Isa::kAvx2) return Avx2AttendRow(query, keys, values, scores, out);
#endif
  AttendRowHere(query, keys, values, scores, out);
}

}  // namespace mtm
