// SPDX-License-Identifier: Apache-2.0
#include "server/model/attend_row.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>

#include "memory_store/half.h"
#include "server/model/exp.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace mtm {
namespace {

// Lanes of a processor's registers. GCC keeps wider ones in memory.
template <size_t kLanes>
using Lanes [[gnu::vector_size(kLanes * sizeof(float))]] = float;

constexpr size_t kKeysAtOnce = 4;

// The processor by itself fetches too little ahead of keys and values.
constexpr size_t kPrefetchRows = 12;

// Keys or values that the rows of AttendRows share: 16 KiB at GPT-2's widths.
constexpr size_t kTile = 64;

template <size_t kLanes>
[[gnu::always_inline]] inline void Load(const float* from, Lanes<kLanes>& lanes) {
  std::memcpy(&lanes, from, sizeof(lanes));
}

// How keys and values are read: numbers of one type, a register's lanes of them at a time.
template <size_t kLanes_>
struct Floats {
  using Number = float;
  static constexpr size_t kLanes = kLanes_;
  [[gnu::always_inline]] static void LoadLanes(const float* from, Lanes<kLanes>& lanes) {
    Load<kLanes>(from, lanes);
  }
  static float ToFloat(float x) { return x; }
};

struct PortableHalves {
  using Number = uint16_t;
  static constexpr size_t kLanes = 16;
  static void LoadLanes(const uint16_t* from, Lanes<kLanes>& lanes) {
    for (size_t i = 0; i < kLanes; ++i) lanes[i] = PortableHalfToFloat(from[i]);
  }
  static float ToFloat(uint16_t x) { return PortableHalfToFloat(x); }
};

#if defined(__x86_64__)

struct Avx2Halves : PortableHalves {
  static constexpr size_t kLanes = 8;
  MTM_AVX2 static void LoadLanes(const uint16_t* from, Lanes<kLanes>& lanes) {
    const __m256 floats = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
    std::memcpy(&lanes, &floats, sizeof(lanes));
  }
};

struct Avx512Halves : PortableHalves {
  MTM_AVX512 static void LoadLanes(const uint16_t* from, Lanes<kLanes>& lanes) {
    // The unmasked one warns of an undefined operand that it does not use.
    const __m512 floats =
        _mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
    std::memcpy(&lanes, &floats, sizeof(lanes));
  }
};

#endif

// The sums of the lanes of sums[0..4), added up together: one by one they take longer than the products.
template <size_t kLanes>
[[gnu::always_inline]] inline void SumLanes(const Lanes<kLanes>* sums, float* products) {
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
  for (size_t key = 0; key < kKeysAtOnce; ++key) products[key] = all[kLanes / kKeysAtOnce * key];
}

// scores[row][i] = queries[row] . keys[i] for i in [begin, end). queries [kRows, dim], scores [kRows, end]
// and more, so many numbers apart; keys [end, dim].
template <typename Rows, size_t kRows>
[[gnu::always_inline]] inline void Scores(const float* queries, size_t query_stride, size_t dim,
                                          const void* key_rows, size_t begin, size_t end, float* scores,
                                          size_t scores_stride) {
  constexpr size_t kLanes = Rows::kLanes;
  using Number = typename Rows::Number;
  const auto* const keys = static_cast<const Number*>(key_rows);
  const size_t whole = dim / kLanes * kLanes;
  for (size_t i = begin; i < end; i += kKeysAtOnce) {
    // The last ones in the same way, so that equal keys have equal products.
    const Number* key[kKeysAtOnce];
    for (size_t r = 0; r < kKeysAtOnce; ++r) key[r] = keys + std::min(i + r, end - 1) * dim;
    Lanes<kLanes> sums[kRows][kKeysAtOnce] = {};
    for (size_t j = 0; j < whole; j += kLanes) {
      Lanes<kLanes> q[kRows], k;
      for (size_t row = 0; row < kRows; ++row) Load<kLanes>(queries + row * query_stride + j, q[row]);
      for (size_t r = 0; r < kKeysAtOnce; ++r) {
        __builtin_prefetch(key[r] + kPrefetchRows * dim + j);
        Rows::LoadLanes(key[r] + j, k);
        for (size_t row = 0; row < kRows; ++row) sums[row][r] += q[row] * k;
      }
    }
    for (size_t row = 0; row < kRows; ++row) {
      float products[kKeysAtOnce];
      SumLanes<kLanes>(sums[row], products);
      for (size_t j = whole; j < dim; ++j) {
        for (size_t r = 0; r < kKeysAtOnce; ++r)
          products[r] += queries[row * query_stride + j] * Rows::ToFloat(key[r][j]);
      }
      std::copy_n(products, std::min(kKeysAtOnce, end - i), scores + row * scores_stride + i);
    }
  }
}

// scores = softmax(scores / sqrt(dim))
template <size_t kLanes>
[[gnu::always_inline]] inline void Softmax(std::span<float> scores, size_t dim) {
  const size_t n = scores.size();
  const float scale = 1 / std::sqrt(static_cast<float>(dim));
  for (size_t i = 0; i < n; ++i) scores[i] *= scale;

  const float largest = *std::max_element(scores.begin(), scores.end());
  for (size_t i = 0; i < n; ++i) scores[i] = Exp(scores[i] - largest);
  Lanes<kLanes> sums = {}, lanes;
  const size_t whole = n / kLanes * kLanes;
  for (size_t i = 0; i < whole; i += kLanes) {
    Load<kLanes>(&scores[i], lanes);
    sums += lanes;
  }
  float sum = 0;
  for (size_t i = 0; i < kLanes; ++i) sum += sums[i];
  for (size_t i = whole; i < n; ++i) sum += scores[i];
  for (size_t i = 0; i < n; ++i) scores[i] /= sum;
}

// out[row][0, kLanes * kVectors) += sum of weights[row][i] * values[i] for i < n, added up in that order.
// Rows of weights, values and out are so many numbers apart.
template <typename Rows, size_t kVectors, size_t kRows>
[[gnu::always_inline]] inline void AddWeighted(const float* weights, size_t weights_stride, size_t n,
                                               const typename Rows::Number* values, size_t stride, float* out,
                                               size_t out_stride) {
  constexpr size_t kLanes = Rows::kLanes;
  Lanes<kLanes> sums[kRows][kVectors];
  for (size_t row = 0; row < kRows; ++row) std::memcpy(sums[row], out + row * out_stride, sizeof(sums[row]));
  for (size_t i = 0; i < n; ++i) {
    const auto* const from = values + i * stride;
    for (size_t v = 0; v < kVectors; ++v) {
      Lanes<kLanes> value;
      __builtin_prefetch(from + kPrefetchRows * stride + v * kLanes);
      Rows::LoadLanes(from + v * kLanes, value);
      for (size_t row = 0; row < kRows; ++row) sums[row][v] += weights[row * weights_stride + i] * value;
    }
  }
  for (size_t row = 0; row < kRows; ++row) std::memcpy(out + row * out_stride, sums[row], sizeof(sums[row]));
}

// out[row] += weights[row] values; weights [kRows, n], values [n, dim], out [kRows, dim]
template <typename Rows, size_t kVectors, size_t kRows>
[[gnu::always_inline]] inline void AddValues(const float* weights, size_t weights_stride, size_t n,
                                             const void* value_rows, size_t dim, float* out,
                                             size_t out_stride) {
  constexpr size_t kLanes = Rows::kLanes;
  const auto* const values = static_cast<const typename Rows::Number*>(value_rows);
  constexpr size_t kWidth = kLanes * kVectors;
  size_t at = 0;
  for (; at + kWidth <= dim; at += kWidth) {
    AddWeighted<Rows, kVectors, kRows>(weights, weights_stride, n, values + at, dim, out + at, out_stride);
  }
  for (; at + kLanes <= dim; at += kLanes) {
    AddWeighted<Rows, 1, kRows>(weights, weights_stride, n, values + at, dim, out + at, out_stride);
  }
  for (size_t row = 0; row < kRows; ++row) {
    for (size_t j = at; j < dim; ++j) {
      for (size_t i = 0; i < n; ++i)
        out[row * out_stride + j] += weights[row * weights_stride + i] * Rows::ToFloat(values[i * dim + j]);
    }
  }
}

// One piece of code each, so that a row's bits do not depend on what a compiler makes of it in another place.
struct RowKernels {
  size_t n_rows;
  void (*scores)(const float* queries, size_t query_stride, size_t dim, const void* keys, size_t begin,
                 size_t end, float* scores, size_t scores_stride);
  void (*add_values)(const float* weights, size_t weights_stride, size_t n, const void* values, size_t dim,
                     float* out, size_t out_stride);
};
struct Kernels {
  RowKernels one, several;  // several: for widths of whole registers alone, where they have the bits of one
  void (*softmax)(std::span<float> scores, size_t dim);
};
constexpr size_t kWholeWidth = 16;

template <typename Rows>
constexpr Kernels kPortable = {
    {1, Scores<Rows, 1>, AddValues<Rows, 1, 1>}, {2, Scores<Rows, 2>, AddValues<Rows, 1, 2>}, Softmax<16>};

#if defined(__x86_64__)

template <typename Rows, size_t kRows>
MTM_AVX2 void Avx2Scores(const float* queries, size_t query_stride, size_t dim, const void* keys,
                         size_t begin, size_t end, float* scores, size_t scores_stride) {
  Scores<Rows, kRows>(queries, query_stride, dim, keys, begin, end, scores, scores_stride);
}
template <typename Rows, size_t kVectors, size_t kRows>
MTM_AVX2 void Avx2AddValues(const float* weights, size_t weights_stride, size_t n, const void* values,
                            size_t dim, float* out, size_t out_stride) {
  AddValues<Rows, kVectors, kRows>(weights, weights_stride, n, values, dim, out, out_stride);
}
MTM_AVX2 void Avx2Softmax(std::span<float> scores, size_t dim) { Softmax<8>(scores, dim); }

template <typename Rows, size_t kRows>
MTM_AVX512 void Avx512Scores(const float* queries, size_t query_stride, size_t dim, const void* keys,
                             size_t begin, size_t end, float* scores, size_t scores_stride) {
  Scores<Rows, kRows>(queries, query_stride, dim, keys, begin, end, scores, scores_stride);
}
template <typename Rows, size_t kRows>
MTM_AVX512 void Avx512AddValues(const float* weights, size_t weights_stride, size_t n, const void* values,
                                size_t dim, float* out, size_t out_stride) {
  AddValues<Rows, 4, kRows>(weights, weights_stride, n, values, dim, out, out_stride);
}
MTM_AVX512 void Avx512Softmax(std::span<float> scores, size_t dim) { Softmax<16>(scores, dim); }

// As many rows and vectors as the registers hold sums and operands of: 16 of them, 32.
template <typename Rows>
constexpr Kernels kAvx2 = {{1, Avx2Scores<Rows, 1>, Avx2AddValues<Rows, 8, 1>},
                           {2, Avx2Scores<Rows, 2>, Avx2AddValues<Rows, 4, 2>},
                           Avx2Softmax};
template <typename Rows>
constexpr Kernels kAvx512 = {{1, Avx512Scores<Rows, 1>, Avx512AddValues<Rows, 1>},
                             {4, Avx512Scores<Rows, 4>, Avx512AddValues<Rows, 4>},
                             Avx512Softmax};

#endif

const Kernels& KernelsFor(DataType type, [[maybe_unused]] Isa isa) {
  const bool halves = type == DataType::kF16;
#if defined(__x86_64__)
  if (isa >= Isa::kAvx512) return halves ? kAvx512<Avx512Halves> : kAvx512<Floats<16>>;
  if (isa >= Isa::kAvx2) return halves ? kAvx2<Avx2Halves> : kAvx2<Floats<8>>;
#endif
  return halves ? kPortable<PortableHalves> : kPortable<Floats<16>>;
}

const void* RowsFrom(const CachedRows& rows, size_t first, size_t dim) {
  return static_cast<const std::byte*>(rows.data) + first * dim * ElementSize(rows.type);
}

}  // namespace

void RowAttention(std::span<const float> query, const CachedRows& keys, std::span<float> attention, Isa isa) {
  const Kernels& kernels = KernelsFor(keys.type, isa);
  kernels.one.scores(query.data(), 0, query.size(), keys.data, 0, attention.size(), attention.data(), 0);
  kernels.softmax(attention, query.size());
}

void AttendValues(std::span<const float> attention, const CachedRows& values, std::span<float> out, Isa isa) {
  std::ranges::fill(out, 0.f);
  KernelsFor(values.type, isa)
      .one.add_values(attention.data(), 0, attention.size(), values.data, out.size(), out.data(), 0);
}

void AttendRows(const QueryRows& rows, std::span<float> scratch, Isa isa) {
  const Kernels& kernels = KernelsFor(rows.keys.type, isa);
  const bool is_whole = rows.dim % kWholeWidth == 0;
  const size_t n_keys = rows.first + rows.n;
  const auto scores = [&](size_t row) { return &scratch[row * n_keys]; };
  const auto out = [&](size_t row) { return rows.out + row * rows.out_stride; };

  // Tile after tile of keys, then of values, by all rows that see it: each is fetched from far once.
  // function(kernels, row, begin, end): of kernels.n_rows rows from `row` on
  const auto for_tiles = [&](const auto& function) {
    for (size_t begin = 0; begin < n_keys; begin += kTile) {
      const auto end_of = [&](size_t row) { return std::min(begin + kTile, rows.first + row + 1); };
      for (size_t row = begin > rows.first ? begin - rows.first : 0; row < rows.n;) {
        const RowKernels& together =
            is_whole && row + kernels.several.n_rows <= rows.n ? kernels.several : kernels.one;
        const size_t end = end_of(row);
        function(together, row, begin, end);
        for (const size_t last = row + together.n_rows; ++row < last;) {  // the later ones see more
          if (end_of(row) > end) function(kernels.one, row, end, end_of(row));
        }
      }
    }
  };
  for_tiles([&](const RowKernels& some, size_t row, size_t begin, size_t end) {
    some.scores(rows.queries + row * rows.query_stride, rows.query_stride, rows.dim, rows.keys.data, begin,
                end, scores(row), n_keys);
  });
  for (size_t row = 0; row < rows.n; ++row) {
    kernels.softmax({scores(row), rows.first + row + 1}, rows.dim);
    std::fill_n(out(row), rows.dim, 0.f);
  }
  for_tiles([&](const RowKernels& some, size_t row, size_t begin, size_t end) {
    some.add_values(scores(row) + begin, n_keys, end - begin, RowsFrom(rows.values, begin, rows.dim),
                    rows.dim, out(row), rows.out_stride);
  });
}

}  // namespace mtm
