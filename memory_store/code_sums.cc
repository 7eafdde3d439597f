// SPDX-License-Identifier: Apache-2.0
#include "memory_store/code_sums.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "memory_store/cpu.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace mtm {
namespace {

// How far beyond the outermost level; 0 within.
[[gnu::always_inline]] inline float Beyond(float residual, float scale) {
  return std::max(std::abs(residual) - kLevel.back() * scale, 0.f);
}

[[gnu::always_inline]] inline void FillTablesHere(std::span<const float> residual,
                                                  std::span<const float> scales, float unit,
                                                  std::span<uint8_t> tables) {
  const float per_unit = unit > std::numeric_limits<float>::min() * kSaturated ? 1 / unit : 0;
  for (size_t i = 0; i < residual.size(); ++i) {
    const float beyond = Beyond(residual[i], scales[i]);
    const float smallest = beyond * beyond;
    for (size_t level = 0; level < kLevels; ++level) {
      const float difference = residual[i] - kLevel[level] * scales[i];
      const float units = (difference * difference - smallest) * per_unit + 0.5f;
      // In this order what is no number saturates too.
      tables[i * kLevels + level] =
          static_cast<uint8_t>(static_cast<int>(std::min<float>(kSaturated, std::max(units, 0.f))));
    }
  }
}

void PortableSumCodes(const uint8_t* codes, std::span<const uint8_t> tables, std::span<uint8_t> sums) {
  const size_t dim = tables.size() / kLevels;
  for (size_t block = 0; block < sums.size(); block += kRowsPerBlock) {
    int wide[kRowsPerBlock] = {};
    for (size_t i = 0; i < dim; ++i, codes += kBytesPerBlock) {
      const uint8_t* const table = &tables[i * kLevels];
      for (size_t j = 0; j < kBytesPerBlock; ++j) {
        wide[j] += table[codes[j] & 15];
        wide[j + kBytesPerBlock] += table[codes[j] >> 4];
      }
    }
    for (size_t j = 0; j < kRowsPerBlock; ++j)
      sums[block + j] = static_cast<uint8_t>(std::min(wide[j], kSaturated));
  }
}

#if defined(__x86_64__)

#define MTM_AVX2 __attribute__((target("avx2,fma")))

bool HasAvx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

MTM_AVX2 void Avx2FillTables(std::span<const float> residual, std::span<const float> scales, float unit,
                             std::span<uint8_t> tables) {
  FillTablesHere(residual, scales, unit, tables);
}

// Two dimensions at a time, one in each half of a register.
MTM_AVX2 void Avx2SumCodes(const uint8_t* codes, std::span<const uint8_t> tables, std::span<uint8_t> sums) {
  const size_t dim = tables.size() / kLevels;
  const __m256i low_bits = _mm256_set1_epi8(15);
  for (size_t block = 0; block < sums.size(); block += kRowsPerBlock) {
    __m256i low = _mm256_setzero_si256();   // rows 0..15
    __m256i high = _mm256_setzero_si256();  // rows 16..31
    size_t i = 0;
    for (; i + 2 <= dim; i += 2, codes += 2 * kBytesPerBlock) {
      const __m256i code = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes));
      const __m256i table = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(&tables[i * kLevels]));
      low = _mm256_adds_epu8(low, _mm256_shuffle_epi8(table, _mm256_and_si256(code, low_bits)));
      high = _mm256_adds_epu8(
          high, _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(code, 4), low_bits)));
    }
    __m128i low_sum = _mm_adds_epu8(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
    __m128i high_sum = _mm_adds_epu8(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
    if (i < dim) {
      const __m128i code = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes));
      const __m128i table = _mm_loadu_si128(reinterpret_cast<const __m128i*>(&tables[i * kLevels]));
      const __m128i bits = _mm256_castsi256_si128(low_bits);
      low_sum = _mm_adds_epu8(low_sum, _mm_shuffle_epi8(table, _mm_and_si128(code, bits)));
      high_sum =
          _mm_adds_epu8(high_sum, _mm_shuffle_epi8(table, _mm_and_si128(_mm_srli_epi16(code, 4), bits)));
      codes += kBytesPerBlock;
    }
    _mm_storeu_si128(reinterpret_cast<__m128i*>(&sums[block]), low_sum);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(&sums[block + kBytesPerBlock]), high_sum);
  }
}

#endif

}  // namespace

DistanceRange RangeOfDistances(std::span<const float> residual, std::span<const float> scales) {
  DistanceRange range;
  for (size_t i = 0; i < residual.size(); ++i) {
    const float nearest = Beyond(residual[i], scales[i]);
    const float farthest = std::abs(residual[i]) + kLevel.back() * scales[i];
    range.nearest += nearest * nearest;
    range.farthest += farthest * farthest;
  }
  return range;
}

void FillTables(std::span<const float> residual, std::span<const float> scales, float unit,
                std::span<uint8_t> tables) {
#if defined(__x86_64__)
  static const bool has_avx2 = HasAvx2();
  if (has_avx2) return Avx2FillTables(residual, scales, unit, tables);
#endif
  FillTablesHere(residual, scales, unit, tables);
}

void SumCodes(const uint8_t* codes, std::span<const uint8_t> tables, std::span<uint8_t> sums) {
#if defined(__x86_64__)
  static const bool has_avx2 = HasAvx2();
  if (has_avx2) return Avx2SumCodes(codes, tables, sums);
#endif
  PortableSumCodes(codes, tables, sums);
}

}  // namespace mtm
