// SPDX-License-Identifier: Apache-2.0
#include "memory_store/distance.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "memory_store/half.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace mtm {
namespace {

// Rows that lie anywhere are fetched this far ahead.
constexpr size_t kPrefetch = 8;
constexpr size_t kCacheLine = 64;

float ToFloat(float x) { return x; }
float ToFloat(uint16_t x) { return PortableHalfToFloat(x); }

template <typename Number>
float PortableDistance(const float* query, const Number* row, size_t dim) {
  constexpr size_t kLanes = 8;  // independent sums, which a compiler can keep in one register
  float lanes[kLanes] = {};
  size_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const float difference = query[i + lane] - ToFloat(row[i + lane]);
      lanes[lane] += difference * difference;
    }
  }
  float sum = 0;
  for (const float lane : lanes) sum += lane;
  for (; i < dim; ++i) {
    const float difference = query[i] - ToFloat(row[i]);
    sum += difference * difference;
  }
  return sum;
}

template <typename Number, typename RowAt>
void PortableDistances(const Number* base, size_t dim, RowAt row_at, const float* query,
                       std::span<float> out) {
  for (size_t i = 0; i < out.size(); ++i) out[i] = PortableDistance(query, base + row_at(i) * dim, dim);
}

#if defined(__x86_64__)

MTM_AVX2 inline __m256 Load8(const float* row) { return _mm256_loadu_ps(row); }
MTM_AVX2 inline __m256 Load8(const uint16_t* row) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(row)));
}

// Distances to four rows, whose sums are added up together: one row's alone take longer than its squares.
template <typename Number>
MTM_AVX2 inline void Avx2Distances4(const float* query, const Number* const* rows, size_t dim, float* out) {
  __m256 sums[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
  size_t i = 0;
  for (; i + 8 <= dim; i += 8) {
    const __m256 q = _mm256_loadu_ps(query + i);
    for (size_t r = 0; r < 4; ++r) {
      const __m256 difference = _mm256_sub_ps(q, Load8(rows[r] + i));
      sums[r] = _mm256_fmadd_ps(difference, difference, sums[r]);
    }
  }
  // Each half has a part of each row's sum.
  const __m256 halves = _mm256_hadd_ps(_mm256_hadd_ps(sums[0], sums[1]), _mm256_hadd_ps(sums[2], sums[3]));
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps(halves, 1)));
  for (; i < dim; ++i) {
    for (size_t r = 0; r < 4; ++r) {
      const float difference = query[i] - ToFloat(rows[r][i]);
      out[r] += difference * difference;
    }
  }
}

template <typename Number, typename RowAt>
MTM_AVX2 void Avx2Distances(const Number* base, size_t dim, RowAt row_at, const float* query,
                            std::span<float> out) {
  const size_t row_size = dim * sizeof(Number), n = out.size();
  for (size_t i = 0; i < n; i += 4) {
    const Number* rows[4];
    for (size_t r = 0; r < 4; ++r) {
      rows[r] = base + row_at(std::min(i + r, n - 1)) * dim;
      if (i + r + kPrefetch >= n) continue;
      const auto* const next = reinterpret_cast<const char*>(base + row_at(i + r + kPrefetch) * dim);
      for (size_t at = 0; at < row_size; at += kCacheLine) _mm_prefetch(next + at, _MM_HINT_T0);
    }
    if (i + 4 <= n) {
      Avx2Distances4(query, rows, dim, &out[i]);
    } else {
      float last[4];
      Avx2Distances4(query, rows, dim, last);
      std::copy_n(last, n - i, &out[i]);
    }
  }
}

#endif

template <typename Number, typename RowAt>
void Distances(const Number* base, size_t dim, RowAt row_at, const float* query, std::span<float> out,
               [[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
  if (isa >= Isa::kAvx2) return Avx2Distances(base, dim, row_at, query, out);
#endif
  PortableDistances(base, dim, row_at, query, out);
}

template <typename RowAt>
void Distances(const StoredRows& keys, RowAt row_at, const float* query, std::span<float> out, Isa isa) {
  const auto dim = static_cast<size_t>(keys.head_dim);
  if (keys.dtype == DataType::kF16) {
    Distances(reinterpret_cast<const uint16_t*>(keys.data), dim, row_at, query, out, isa);
  } else {
    Distances(reinterpret_cast<const float*>(keys.data), dim, row_at, query, out, isa);
  }
}

}  // namespace

void ApproximateDistances(const StoredRows& keys, std::span<const uint32_t> rows,
                          std::span<const float> query, std::span<float> distances, Isa isa) {
  Distances(
      keys, [rows](size_t i) { return size_t{rows[i]}; }, query.data(), distances, isa);
}

void ApproximateDistances(const StoredRows& keys, int64_t first, std::span<const float> query,
                          std::span<float> distances, Isa isa) {
  const auto begin = static_cast<size_t>(first);
  Distances(
      keys, [begin](size_t i) { return begin + i; }, query.data(), distances, isa);
}

float ExactDistance(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = static_cast<double>(a[i]) - b[i];
    sum += difference * difference;
  }
  const auto distance = static_cast<float>(sum);
  return std::isnan(distance) ? std::numeric_limits<float>::infinity() : distance;
}

double RoundingUnit(size_t dim) {
  return std::numeric_limits<float>::epsilon() * (static_cast<double>(dim) + 8);
}

}  // namespace mtm
