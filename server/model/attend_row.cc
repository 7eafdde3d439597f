// SPDX-License-Identifier: Apache-2.0
#include "server/model/attend_row.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>

#include "server/model/exp.h"

namespace mtm {
namespace {

constexpr size_t kLanes = 16;
using Lanes [[gnu::vector_size(kLanes * sizeof(float))]] = float;

constexpr size_t kKeysAtOnce = 4;

// The processor by itself fetches too little ahead of keys and values.
constexpr size_t kPrefetchRows = 12;

[[gnu::always_inline]] inline void Load(const float* from, Lanes& lanes) {
  std::memcpy(&lanes, from, sizeof(lanes));
}

// products[r] = query . keys[r] for kKeysAtOnce keys, [dim] each. Their lanes are added up together: one
// key's take longer than its products.
[[gnu::always_inline]] inline void Dot4(const float* query, const float* keys, size_t dim, float* products) {
  Lanes sums[kKeysAtOnce] = {};
  const size_t whole = dim / kLanes * kLanes;
  for (size_t i = 0; i < whole; i += kLanes) {
    Lanes q, k;
    Load(query + i, q);
    for (size_t r = 0; r < kKeysAtOnce; ++r) {
      const float* const from = keys + r * dim + i;
      __builtin_prefetch(from + kPrefetchRows * dim);
      Load(from, k);
      sums[r] += q * k;
    }
  }
  // Eight sums of each of two keys, then four of each of four, then one.
  Lanes pairs[kKeysAtOnce / 2];
  for (size_t i = 0; i < kKeysAtOnce; i += 2) {
    const Lanes &a = sums[i], &b = sums[i + 1];
    pairs[i / 2] =
        __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
        __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
  }
  const Lanes &a = pairs[0], &b = pairs[1];
  Lanes c = __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
            __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
  c += __builtin_shufflevector(c, c, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
  c += __builtin_shufflevector(c, c, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
  for (size_t r = 0; r < kKeysAtOnce; ++r) products[r] = c[kKeysAtOnce * r];
  for (size_t i = whole; i < dim; ++i) {
    for (size_t r = 0; r < kKeysAtOnce; ++r) products[r] += query[i] * keys[r * dim + i];
  }
}

[[gnu::always_inline]] inline float Sum(const Lanes& lanes) {
  float sum = 0;
  for (size_t i = 0; i < kLanes; ++i) sum += lanes[i];
  return sum;
}

[[gnu::always_inline]] inline float Dot(const float* query, const float* key, size_t dim) {
  Lanes sums = {}, q, k;
  const size_t whole = dim / kLanes * kLanes;
  for (size_t i = 0; i < whole; i += kLanes) {
    Load(query + i, q);
    Load(key + i, k);
    sums += q * k;
  }
  float sum = Sum(sums);
  for (size_t i = whole; i < dim; ++i) sum += query[i] * key[i];
  return sum;
}

// out[0, kWidth) = sum of weights[i] * values[i, 0..kWidth)
template <size_t kWidth>
[[gnu::always_inline]] inline void WeightedSum(std::span<const float> weights, const float* values,
                                               size_t stride, float* out) {
  float lanes[kWidth] = {};
  for (size_t i = 0; i < weights.size(); ++i) {
    const float* const from = values + i * stride;
    for (size_t j = 0; j < kWidth; j += kLanes) __builtin_prefetch(from + kPrefetchRows * stride + j);
    for (size_t j = 0; j < kWidth; ++j) lanes[j] += weights[i] * from[j];
  }
  std::copy(lanes, lanes + kWidth, out);
}

[[gnu::always_inline]] inline void RowAttentionHere(std::span<const float> query, const float* keys,
                                                    std::span<float> attention) {
  const size_t n = attention.size(), dim = query.size();
  const size_t in_fours = n / kKeysAtOnce * kKeysAtOnce;
  for (size_t i = 0; i < in_fours; i += kKeysAtOnce) {
    Dot4(query.data(), keys + i * dim, dim, &attention[i]);
  }
  for (size_t i = in_fours; i < n; ++i) attention[i] = Dot(query.data(), keys + i * dim, dim);
  const float scale = 1 / std::sqrt(static_cast<float>(dim));
  for (size_t i = 0; i < n; ++i) attention[i] *= scale;

  const float largest = *std::max_element(attention.begin(), attention.end());
  for (size_t i = 0; i < n; ++i) attention[i] = Exp(attention[i] - largest);
  Lanes sums = {}, lanes;
  const size_t whole = n / kLanes * kLanes;
  for (size_t i = 0; i < whole; i += kLanes) {
    Load(&attention[i], lanes);
    sums += lanes;
  }
  float sum = Sum(sums);
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
