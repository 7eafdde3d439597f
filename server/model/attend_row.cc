// SPDX-License-Identifier: Apache-2.0
#include "server/model/attend_row.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>

#include "server/model/exp.h"

namespace mtm {
namespace {

// Lanes of a processor's registers. GCC keeps wider ones in memory.
template <size_t kLanes>
using Lanes [[gnu::vector_size(kLanes * sizeof(float))]] = float;

constexpr size_t kKeysAtOnce = 4;

// The processor by itself fetches too little ahead of keys and values.
constexpr size_t kPrefetchRows = 12;
constexpr size_t kCacheLine = 64 / sizeof(float);

template <size_t kLanes>
[[gnu::always_inline]] inline void Load(const float* from, Lanes<kLanes>& lanes) {
  std::memcpy(&lanes, from, sizeof(lanes));
}

// products[r] = query . keys[r], [dim] each. Their lanes are added up together: one key's take longer than
// its products.
template <size_t kLanes>
[[gnu::always_inline]] inline void Dot4(const float* query, const float* const* keys, size_t dim,
                                        float* products) {
  Lanes<kLanes> sums[kKeysAtOnce] = {};
  const size_t whole = dim / kLanes * kLanes;
  for (size_t i = 0; i < whole; i += kLanes) {
    Lanes<kLanes> q, k;
    Load<kLanes>(query + i, q);
    for (size_t r = 0; r < kKeysAtOnce; ++r) {
      __builtin_prefetch(keys[r] + kPrefetchRows * dim + i);
      Load<kLanes>(keys[r] + i, k);
      sums[r] += q * k;
    }
  }
  const Lanes<kLanes>&a = sums[0], &b = sums[1], &c = sums[2], &d = sums[3];
  Lanes<kLanes> ab, cd, all;
  if constexpr (kLanes == 16) {
    ab = __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
         __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    cd = __builtin_shufflevector(c, d, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
         __builtin_shufflevector(c, d, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    all = __builtin_shufflevector(ab, cd, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
          __builtin_shufflevector(ab, cd, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
    all += __builtin_shufflevector(all, all, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
    all += __builtin_shufflevector(all, all, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
  } else {
    ab = __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11) +
         __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
    cd = __builtin_shufflevector(c, d, 0, 1, 2, 3, 8, 9, 10, 11) +
         __builtin_shufflevector(c, d, 4, 5, 6, 7, 12, 13, 14, 15);
    all = __builtin_shufflevector(ab, cd, 0, 1, 4, 5, 8, 9, 12, 13) +
          __builtin_shufflevector(ab, cd, 2, 3, 6, 7, 10, 11, 14, 15);
    all += __builtin_shufflevector(all, all, 1, 0, 3, 2, 5, 4, 7, 6);
  }
  for (size_t r = 0; r < kKeysAtOnce; ++r) products[r] = all[kLanes / kKeysAtOnce * r];
  for (size_t i = whole; i < dim; ++i) {
    for (size_t r = 0; r < kKeysAtOnce; ++r) products[r] += query[i] * keys[r][i];
  }
}

// out[0, kWidth) = sum of weights[i] * values[i, 0..kWidth)
template <size_t kWidth>
[[gnu::always_inline]] inline void WeightedSum(std::span<const float> weights, const float* values,
                                               size_t stride, float* out) {
  float lanes[kWidth] = {};
  for (size_t i = 0; i < weights.size(); ++i) {
    const float* const from = values + i * stride;
    for (size_t j = 0; j < kWidth; j += kCacheLine) __builtin_prefetch(from + kPrefetchRows * stride + j);
    for (size_t j = 0; j < kWidth; ++j) lanes[j] += weights[i] * from[j];
  }
  std::copy(lanes, lanes + kWidth, out);
}

template <size_t kLanes>
[[gnu::always_inline]] inline void RowAttentionHere(std::span<const float> query, const float* keys,
                                                    std::span<float> attention) {
  const size_t n = attention.size(), dim = query.size();
  for (size_t i = 0; i < n; i += kKeysAtOnce) {
    // The last ones in the same way, so that equal keys have equal products.
    const float* rows[kKeysAtOnce];
    float products[kKeysAtOnce];
    for (size_t r = 0; r < kKeysAtOnce; ++r) rows[r] = keys + std::min(i + r, n - 1) * dim;
    Dot4<kLanes>(query.data(), rows, dim, products);
    std::copy_n(products, std::min(kKeysAtOnce, n - i), &attention[i]);
  }
  const float scale = 1 / std::sqrt(static_cast<float>(dim));
  for (size_t i = 0; i < n; ++i) attention[i] *= scale;

  const float largest = *std::max_element(attention.begin(), attention.end());
  for (size_t i = 0; i < n; ++i) attention[i] = Exp(attention[i] - largest);
  Lanes<kLanes> sums = {}, lanes;
  const size_t whole = n / kLanes * kLanes;
  for (size_t i = 0; i < whole; i += kLanes) {
    Load<kLanes>(&attention[i], lanes);
    sums += lanes;
  }
  float sum = 0;
  for (size_t i = 0; i < kLanes; ++i) sum += sums[i];
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

MTM_AVX2 void Avx2RowAttention(std::span<const float> query, const float* keys, std::span<float> attention) {
  RowAttentionHere<8>(query, keys, attention);
}
MTM_AVX512 void Avx512RowAttention(std::span<const float> query, const float* keys,
                                   std::span<float> attention) {
  RowAttentionHere<16>(query, keys, attention);
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
  RowAttentionHere<16>(query, keys, attention);
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
