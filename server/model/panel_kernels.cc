// SPDX-License-Identifier: Apache-2.0
#include "server/model/panel_kernels.h"

#include <algorithm>
#include <cstring>

#include "memory_store/half.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace mtm {
namespace {

// Weights come from memory in one stream a thread, of which the processor by itself fetches too little ahead.
constexpr int64_t kPrefetchBytes = 4096;
constexpr size_t kCacheLine = 64;

// One set of instructions and one kind of weights: a third of a panel's width in an Accumulator, the weights
// of kGroup inputs and a third of the outputs in a Weights. Sums of kMaxRows rows have registers: of whole
// panels up to kMaxRowsOfThree rows, else of a third.
struct PortableFloat {
  struct Accumulator {
    float sums[16];
  };
  using Weights = Accumulator;
  using Weight = float;
  using Input = float;
  static constexpr int64_t kGroup = 1;
  static constexpr int64_t kMaxRows = 1;
  static constexpr int64_t kMaxRowsOfThree = 1;

  static void Zero(Accumulator& a) { std::fill(a.sums, a.sums + 16, 0.f); }
  static void Load(const float* from, Weights& w) { std::copy(from, from + 16, w.sums); }
  static void Add(Accumulator& a, const Weights& w, const float* x) {
    for (int i = 0; i < 16; ++i) a.sums[i] = w.sums[i] * *x + a.sums[i];
  }
  static void Store(const Accumulator& a, float* to) { std::copy(a.sums, a.sums + 16, to); }
};

struct PortableHalf : PortableFloat {
  using Weight = uint16_t;
  static void Load(const uint16_t* from, Weights& w) {
    for (int i = 0; i < 16; ++i) w.sums[i] = PortableHalfToFloat(from[i]);
  }
};

struct PortableInt8 {
  struct Accumulator {
    int32_t sums[16];
  };
  struct Weights {
    int8_t numbers[16 * kInt8Group];
  };
  using Weight = int8_t;
  using Input = uint8_t;
  static constexpr int64_t kGroup = kInt8Group;
  static constexpr int64_t kMaxRows = 1;
  static constexpr int64_t kMaxRowsOfThree = 1;

  static void Zero(Accumulator& a) { std::fill(a.sums, a.sums + 16, 0); }
  static void Load(const int8_t* from, Weights& w) { std::memcpy(w.numbers, from, sizeof(w.numbers)); }
  static void Add(Accumulator& a, const Weights& w, const uint8_t* x) {
    for (int i = 0; i < 16; ++i) {
      for (int j = 0; j < 4; ++j) a.sums[i] += w.numbers[4 * i + j] * x[j];
    }
  }
  static void Store(const Accumulator& a, int32_t* to) { std::copy(a.sums, a.sums + 16, to); }
};

// sums of rows [0, kRows), of kThirds of the panel's width.
template <typename Isa, int kRows, int kThirds, typename Sum>
[[gnu::always_inline]] inline void MultiplyThirds(const typename Isa::Weight* panel, int64_t n_in,
                                                  const typename Isa::Input* x, Sum* sums) {
  constexpr int64_t kThird = kPanelWidth / 3;
  typename Isa::Accumulator a[kRows][kThirds];
  for (int row = 0; row < kRows; ++row) {
    for (int third = 0; third < kThirds; ++third) Isa::Zero(a[row][third]);
  }
  for (int64_t i = 0; i < n_in; i += Isa::kGroup, panel += kPanelWidth * Isa::kGroup) {
    const auto* const ahead = reinterpret_cast<const char*>(panel) + kPrefetchBytes;
    for (size_t at = 0; at < kThirds * kThird * Isa::kGroup * sizeof(*panel); at += kCacheLine)
      __builtin_prefetch(ahead + at);
    typename Isa::Weights w[kThirds];
    for (int third = 0; third < kThirds; ++third) Isa::Load(panel + third * kThird * Isa::kGroup, w[third]);
    for (int row = 0; row < kRows; ++row) {
      for (int third = 0; third < kThirds; ++third) Isa::Add(a[row][third], w[third], x + row * n_in + i);
    }
  }
  for (int row = 0; row < kRows; ++row) {
    for (int third = 0; third < kThirds; ++third)
      Isa::Store(a[row][third], sums + row * kPanelWidth + third * kThird);
  }
}

// Together where all sums have registers: then a panel is read once.
template <typename Isa, int kRows, typename Sum>
[[gnu::always_inline]] inline void MultiplyRows(const typename Isa::Weight* panel, int64_t n_in,
                                                const typename Isa::Input* x, Sum* sums) {
  if constexpr (kRows <= Isa::kMaxRowsOfThree) {
    MultiplyThirds<Isa, kRows, 3>(panel, n_in, x, sums);
  } else {
    constexpr int64_t kThird = kPanelWidth / 3;
    for (int64_t third = 0; third < 3; ++third)
      MultiplyThirds<Isa, kRows, 1>(panel + third * kThird * Isa::kGroup, n_in, x, sums + third * kThird);
  }
}

// The most rows at once that are left.
template <typename Isa, int kRows, typename Sum>
[[gnu::always_inline]] inline void MultiplyAll(const typename Isa::Weight* panel, int64_t n_in,
                                               const typename Isa::Input* x, int64_t n_rows, Sum* sums) {
  int64_t row = 0;
  for (; row + kRows <= n_rows; row += kRows) {
    MultiplyRows<Isa, kRows>(panel, n_in, x + row * n_in, sums + row * kPanelWidth);
  }
  if constexpr (kRows > 1) {
    if (row < n_rows) {
      MultiplyAll<Isa, kRows - 1>(panel, n_in, x + row * n_in, n_rows - row, sums + row * kPanelWidth);
    }
  }
}

#if defined(__x86_64__)

// 48 outputs in 6 registers; the sums of two rows take 12 of 16.
struct Avx2Float {
  struct Accumulator {
    __m256 low, high;
  };
  using Weights = Accumulator;
  using Weight = float;
  using Input = float;
  static constexpr int64_t kGroup = 1;
  static constexpr int64_t kMaxRows = 2;
  static constexpr int64_t kMaxRowsOfThree = 2;

  MTM_AVX2 static void Zero(Accumulator& a) { a.low = a.high = _mm256_setzero_ps(); }
  MTM_AVX2 static void Load(const float* from, Weights& w) {
    w.low = _mm256_loadu_ps(from);
    w.high = _mm256_loadu_ps(from + 8);
  }
  MTM_AVX2 static void Add(Accumulator& a, const Weights& w, const float* x) {
    const __m256 input = _mm256_broadcast_ss(x);
    a.low = _mm256_fmadd_ps(w.low, input, a.low);
    a.high = _mm256_fmadd_ps(w.high, input, a.high);
  }
  MTM_AVX2 static void Store(const Accumulator& a, float* to) {
    _mm256_storeu_ps(to, a.low);
    _mm256_storeu_ps(to + 8, a.high);
  }
};

struct Avx2Half : Avx2Float {
  using Weight = uint16_t;
  MTM_AVX2 static void Load(const uint16_t* from, Weights& w) {
    w.low = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
    w.high = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + 8)));
  }
};

// In 16 bits, since products in 8 would be cut off. Two sums for each output, of every other pair of inputs:
// those of one row take 12 of 16 registers.
struct Avx2Int8 {
  struct Accumulator {
    __m256i pairs[4];
  };
  using Weights = Accumulator;  // as 16 bits
  using Weight = int8_t;
  using Input = uint8_t;
  static constexpr int64_t kGroup = kInt8Group;
  static constexpr int64_t kMaxRows = 2;
  static constexpr int64_t kMaxRowsOfThree = 1;

  MTM_AVX2 static void Zero(Accumulator& a) {
    for (__m256i& pairs : a.pairs) pairs = _mm256_setzero_si256();
  }
  MTM_AVX2 static void Load(const int8_t* from, Weights& w) {
    for (int i = 0; i < 4; ++i) {
      w.pairs[i] = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + 16 * i)));
    }
  }
  MTM_AVX2 static void Add(Accumulator& a, const Weights& w, const uint8_t* x) {
    int32_t group;
    std::memcpy(&group, x, sizeof(group));
    const __m256i inputs = _mm256_cvtepu8_epi16(_mm_set1_epi32(group));
    for (int i = 0; i < 4; ++i) {
      a.pairs[i] = _mm256_add_epi32(a.pairs[i], _mm256_madd_epi16(w.pairs[i], inputs));
    }
  }
  MTM_AVX2 static void Store(const Accumulator& a, int32_t* to) {
    for (int i = 0; i < 2; ++i) {
      // Sums of outputs 0 1 4 5 2 3 6 7.
      const __m256i sums = _mm256_hadd_epi32(a.pairs[2 * i], a.pairs[2 * i + 1]);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + 8 * i),
                          _mm256_permute4x64_epi64(sums, 0b11'01'10'00));
    }
  }
};

// The sums of 8 rows take 24 of 32 registers.
struct Avx512Float {
  using Accumulator = __m512;
  using Weights = __m512;
  using Weight = float;
  using Input = float;
  static constexpr int64_t kGroup = 1;
  static constexpr int64_t kMaxRows = 8;
  static constexpr int64_t kMaxRowsOfThree = 8;

  MTM_AVX512 static void Zero(Accumulator& a) { a = _mm512_setzero_ps(); }
  MTM_AVX512 static void Load(const float* from, Weights& w) { w = _mm512_loadu_ps(from); }
  MTM_AVX512 static void Add(Accumulator& a, const Weights& w, const float* x) {
    a = _mm512_fmadd_ps(w, _mm512_set1_ps(*x), a);
  }
  MTM_AVX512 static void Store(const Accumulator& a, float* to) { _mm512_storeu_ps(to, a); }
};

struct Avx512Half : Avx512Float {
  using Weight = uint16_t;
  MTM_AVX512 static void Load(const uint16_t* from, Weights& w) {
    // The unmasked one warns of an undefined operand that it does not use.
    w = _mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  }
};

struct VnniInt8 {
  using Accumulator = __m512i;
  using Weights = __m512i;
  using Weight = int8_t;
  using Input = uint8_t;
  static constexpr int64_t kGroup = kInt8Group;
  static constexpr int64_t kMaxRows = 8;
  static constexpr int64_t kMaxRowsOfThree = 8;

  MTM_VNNI static void Zero(Accumulator& a) { a = _mm512_setzero_si512(); }
  MTM_VNNI static void Load(const int8_t* from, Weights& w) { w = _mm512_loadu_si512(from); }
  MTM_VNNI static void Add(Accumulator& a, const Weights& w, const uint8_t* x) {
    int32_t group;
    std::memcpy(&group, x, sizeof(group));
    a = _mm512_dpbusd_epi32(a, _mm512_set1_epi32(group), w);
  }
  MTM_VNNI static void Store(const Accumulator& a, int32_t* to) { _mm512_storeu_si512(to, a); }
};

template <typename Isa, typename Sum>
MTM_AVX2 void Avx2Multiply(const typename Isa::Weight* panel, int64_t n_in, const typename Isa::Input* x,
                           int64_t n_rows, Sum* sums) {
  MultiplyAll<Isa, Isa::kMaxRows>(panel, n_in, x, n_rows, sums);
}

template <typename Isa>
MTM_AVX512 void Avx512Multiply(const typename Isa::Weight* panel, int64_t n_in, const float* x,
                               int64_t n_rows, float* sums) {
  MultiplyAll<Isa, Isa::kMaxRows>(panel, n_in, x, n_rows, sums);
}

MTM_VNNI void VnniMultiply(const int8_t* panel, int64_t n_in, const uint8_t* x, int64_t n_rows,
                           int32_t* sums) {
  MultiplyAll<VnniInt8, VnniInt8::kMaxRows>(panel, n_in, x, n_rows, sums);
}

#endif

}  // namespace

void MultiplyPanel(const float* panel, int64_t n_in, const float* x, int64_t n_rows, float* sums,
                   [[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
  if (isa >= Isa::kAvx512) return Avx512Multiply<Avx512Float>(panel, n_in, x, n_rows, sums);
  if (isa >= Isa::kAvx2) return Avx2Multiply<Avx2Float>(panel, n_in, x, n_rows, sums);
#endif
  MultiplyAll<PortableFloat, PortableFloat::kMaxRows>(panel, n_in, x, n_rows, sums);
}

void MultiplyPanel(const uint16_t* panel, int64_t n_in, const float* x, int64_t n_rows, float* sums,
                   [[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
  if (isa >= Isa::kAvx512) return Avx512Multiply<Avx512Half>(panel, n_in, x, n_rows, sums);
  if (isa >= Isa::kAvx2) return Avx2Multiply<Avx2Half>(panel, n_in, x, n_rows, sums);
#endif
  MultiplyAll<PortableHalf, PortableHalf::kMaxRows>(panel, n_in, x, n_rows, sums);
}

void MultiplyPanel(const int8_t* panel, int64_t n_in, const uint8_t* x, int64_t n_rows, int32_t* sums,
                   [[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
  if (isa >= Isa::kVnni) return VnniMultiply(panel, n_in, x, n_rows, sums);
  if (isa >= Isa::kAvx2) return Avx2Multiply<Avx2Int8>(panel, n_in, x, n_rows, sums);
#endif
  MultiplyAll<PortableInt8, PortableInt8::kMaxRows>(panel, n_in, x, n_rows, sums);
}

}  // namespace mtm
