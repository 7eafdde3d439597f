// SPDX-License-Identifier: Apache-2.0
#include "memory_store/code_sums.h"

#include <algorithm>
#include <cmath>
#include <limits>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace mtm {
namespace {

// How far beyond the outermost level; 0 within.
inline float Beyond(float residual, float scale) {
  return std::max(std::abs(residual) - kLevel.back() * scale, 0.f);
}

float PerUnit(float unit) { return unit > std::numeric_limits<float>::min() * kSaturated ? 1 / unit : 0; }

void PortableFillTables(std::span<const float> residual, std::span<const float> scales, float unit,
                        std::span<uint8_t> tables) {
  const float per_unit = PerUnit(unit);
  for (size_t i = 0; i < residual.size(); ++i) {
    const float beyond = Beyond(residual[i], scales[i]);
    for (size_t level = 0; level < kLevels; ++level) {
      const float difference = residual[i] - kLevel[level] * scales[i];
      const float units = (difference * difference - beyond * beyond) * per_unit + 0.5f;
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

// Eight levels. What is no number saturates.
MTM_AVX2 inline __m256i Units8(__m256 levels, __m256 residual, __m256 scale, __m256 smallest,
                               __m256 per_unit) {
  const __m256 difference = _mm256_fnmadd_ps(levels, scale, residual);
  const __m256 units = _mm256_mul_ps(_mm256_fmsub_ps(difference, difference, smallest), per_unit);
  return _mm256_cvtps_epi32(_mm256_min_ps(units, _mm256_set1_ps(kSaturated)));
}

MTM_AVX2 void Avx2FillTables(std::span<const float> residual, std::span<const float> scales, float unit,
                             std::span<uint8_t> tables) {
  const __m256 per_unit = _mm256_set1_ps(PerUnit(unit));
  const __m256 low_levels = _mm256_loadu_ps(&kLevel[0]), high_levels = _mm256_loadu_ps(&kLevel[8]);
  for (size_t i = 0; i < residual.size(); ++i) {
    const float beyond = Beyond(residual[i], scales[i]);
    const __m256 at = _mm256_set1_ps(residual[i]), scale = _mm256_set1_ps(scales[i]);
    const __m256 smallest = _mm256_set1_ps(beyond * beyond);
    const __m256i mixed = _mm256_packs_epi32(Units8(low_levels, at, scale, smallest, per_unit),
                                             Units8(high_levels, at, scale, smallest, per_unit));
    const __m256i ordered = _mm256_permute4x64_epi64(mixed, 0b11'01'10'00);  // packing took turns
    const __m128i bytes =
        _mm_packus_epi16(_mm256_castsi256_si128(ordered), _mm256_extracti128_si256(ordered, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(&tables[i * kLevels]), bytes);
  }
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
                std::span<uint8_t> tables, [[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
  if (isa >= Isa::kAvx2) return Avx2FillTables(residual, scales, unit, tables);
#endif
  PortableFillTables(residual, scales, unit, tables);
}

void SumCodes(const uint8_t* codes, std::span<const uint8_t> tables, std::span<uint8_t> sums,
              [[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
  if (isa >= Isa::kAvx2) return Avx2SumCodes(codes, tables, sums);
#endif
  PortableSumCodes(codes, tables, sums);
}

}  // namespace mtm
