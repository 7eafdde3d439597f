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

[[gnu::always_inline]] inline void RowAttentionHere(std::span<const float> query, const float* keys,
                                                    std::span<float> attention) {
  const size_t n = attention.size(), dim = query.size();
  const float scale = 1 / std::sqrt(static_cast<float>(dim));
  for (size_t i = 0; i < n; ++i) attention[i] = Dot(query.data(), keys + i * dim, dim) * scale;

  const float largest = *std::max_element(attention.begin(), attention.end());
  for (size_t i = 0; i < n; ++i) attention[i] = Exp(attention[i] - largest);
  float lanes[kLanes] = {};
  const size_t whole = n / kLanes * kLanes;
  for (size_t i = 0; i < whole; i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) lanes[j] += attention[i + j];
  }
  float sum = Sum(lanes);
  for (size_t i = whole; i < n; ++i) sum += attention[i];
  for (size_t i = 0; i < n; ++i) attention[i] /= sum;
}

[[gnu::always_inline]] inline void AttendValuesHere(std::span<const float> attention, const float* values,
                                                    std::span<float> out) {
  const size_t dim = out.size();
  size_t at = 0;
  for (; at + 64 <= dim; at += 64) WeightedSum<64>(attention, values + at, dim, &out[at]);
  for (; at + 16 <= dim; at += 16) WeightedSum<16>(attention, values + at, dim, &out[at]);
  for (; at < dim; ++at) WeightedSum<1>(attention, values + at, dim, &out[at]);
}

#if defined(__x86_64__)

#define MTM_AVX2 __attribute__((target("avx2,fma")))
#define MTM_AVX512 __attribute__((target("avx512f,prefer-vector-width=512")))

MTM_AVX2 void Avx2RowAttention(std::span<const float> query, const float* keys, std::span<float> attention) {
  RowAttentionHere(query, keys, attention);
}
MTM_AVX512 void Avx512RowAttention(std::span<const float> query, const float* keys,
                                   std::span<float> attention) {
  RowAttentionHere(query, keys, attention);
}

MTM_AVX2 void Avx2AttendValues(std::span<const float> attention, const float* values, std::span<float> out) {
  AttendValuesHere(attention, values, out);
}
MTM_AVX512 void Avx512AttendValues(std::span<const float> attention, const float* values,
                                   std::span<float> out) {
  AttendValuesHere(attention, values, out);
}

#endif

}  // namespace

void RowAttention(std::span<const float> query, const float* keys, std::span<float> attention,
                  [[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
  if (isa >= Isa::kAvx512) return Avx512RowAttention(query, keys, attention);
  if (isa >= Isa::kAvx2) return Avx2RowAttention(query, keys, attention);
#endif
  RowAttentionHere(query, keys, attention);
}

void AttendValues(std::span<const float> attention, const float* values, std::span<float> out,
                  [[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
  if (isa >= Isa::kAvx512) return Avx512AttendValues(attention, values, out);
  if (isa >= Isa::kAvx2) return Avx2AttendValues(attention, values, out);
#endif
  AttendValuesHere(attention, values, out);
}

}  // namespace mtm
