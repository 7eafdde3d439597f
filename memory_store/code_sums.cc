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

void PortableSumCodes(const uint8_t* codes, size_t n_blocks, size_t dim, const CodeSums& query) {
  for (size_t block = 0; block < n_blocks; ++block) {
    int wide[kRowsPerBlock] = {};
    for (size_t i = 0; i < dim; ++i, codes += kBytesPerBlock) {
      const uint8_t* const table = &query.tables[i * kLevels];
      for (size_t j = 0; j < kBytesPerBlock; ++j) {
        wide[j] += table[codes[j] & 15];
        wide[j + kBytesPerBlock] += table[codes[j] >> 4];
      }
    }
    query.below[block] = 0;
    for (size_t j = 0; j < kRowsPerBlock; ++j) {
      query.sums[block * kRowsPerBlock + j] = static_cast<uint8_t>(std::min(wide[j], kSaturated));
      query.below[block] |= uint32_t{wide[j] < kSaturated} << j;
    }
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

constexpr size_t kPrefetch = 1024;  // bytes

// Of two dimensions, one in each half of a register, or of one.
template <bool kTwo>
MTM_AVX2 inline __m256i LoadCodes(const uint8_t* bytes) {
  if constexpr (kTwo) return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes));
  return _mm256_zextsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
}

// Dimensions i and i + 1, or i alone, of a block: rows 0..15 in `low`, rows 16..31 in `high`.
template <size_t kQueries, bool kTwo>
MTM_AVX2 inline void AddCodes(const uint8_t* codes, size_t i, const CodeSums* queries, __m256i* low,
                              __m256i* high) {
  const __m256i low_bits = _mm256_set1_epi8(15), code = LoadCodes<kTwo>(codes + i * kBytesPerBlock);
  const __m256i low_code = _mm256_and_si256(code, low_bits);
  const __m256i high_code = _mm256_and_si256(_mm256_srli_epi16(code, 4), low_bits);
  for (size_t q = 0; q < kQueries; ++q) {
    const __m256i table = LoadCodes<kTwo>(&queries[q].tables[i * kLevels]);
    low[q] = _mm256_adds_epu8(low[q], _mm256_shuffle_epi8(table, low_code));
    high[q] = _mm256_adds_epu8(high[q], _mm256_shuffle_epi8(table, high_code));
  }
}

template <size_t kQueries>
MTM_AVX2 void Avx2SumCodes(const uint8_t* codes, size_t n_blocks, size_t dim, const CodeSums* queries) {
  for (size_t block = 0; block < n_blocks; ++block, codes += dim * kBytesPerBlock) {
    __m256i low[kQueries], high[kQueries];
    for (size_t q = 0; q < kQueries; ++q) low[q] = high[q] = _mm256_setzero_si256();
    size_t i = 0;
    for (; i + 4 <= dim; i += 4) {  // a cache line
      // Lists lie anywhere, and the processor itself fetches ahead within a page only.
      _mm_prefetch(reinterpret_cast<const char*>(codes + i * kBytesPerBlock) + kPrefetch, _MM_HINT_T0);
      AddCodes<kQueries, true>(codes, i, queries, low, high);
      AddCodes<kQueries, true>(codes, i + 2, queries, low, high);
    }
    for (; i + 2 <= dim; i += 2) AddCodes<kQueries, true>(codes, i, queries, low, high);
    if (i < dim) AddCodes<kQueries, false>(codes, i, queries, low, high);
    for (size_t q = 0; q < kQueries; ++q) {
      const __m256i sums = _mm256_adds_epu8(_mm256_permute2x128_si256(low[q], high[q], 0x20),
                                            _mm256_permute2x128_si256(low[q], high[q], 0x31));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(&queries[q].sums[block * kRowsPerBlock]), sums);
      const __m256i saturated = _mm256_cmpeq_epi8(sums, _mm256_set1_epi8(-1));
      queries[q].below[block] = ~static_cast<uint32_t>(_mm256_movemask_epi8(saturated));
    }
  }
}

void Avx2SumCodes(const uint8_t* codes, size_t n_blocks, size_t dim, std::span<const CodeSums> queries) {
  switch (queries.size()) {
    case 0:
      return;
    case 1:
      return Avx2SumCodes<1>(codes, n_blocks, dim, queries.data());
    case 2:
      return Avx2SumCodes<2>(codes, n_blocks, dim, queries.data());
    case 3:
      return Avx2SumCodes<3>(codes, n_blocks, dim, queries.data());
    default:
      Avx2SumCodes<kQueriesTogether>(codes, n_blocks, dim, queries.data());
      Avx2SumCodes(codes, n_blocks, dim, queries.subspan(kQueriesTogether));
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

void SumCodes(const uint8_t* codes, size_t n_blocks, size_t head_dim, std::span<const CodeSums> queries,
              [[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
  if (isa >= Isa::kAvx2) return Avx2SumCodes(codes, n_blocks, head_dim, queries);
#endif
  for (const CodeSums& query : queries) PortableSumCodes(codes, n_blocks, head_dim, query);
}

}  // namespace mtm
