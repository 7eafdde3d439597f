// SPDX-License-Identifier: Apache-2.0
#include "memory_store/half.h"

#include <bit>
#include <cstddef>

#include "memory_store/cpu.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace mtm {
namespace {

// Fields of binary16: 1 sign, 5 exponent, 10 fraction; of binary32: 1, 8, 23.
constexpr uint32_t kSign = 0x80000000u;
constexpr uint32_t kFloatInfinity = 0x7f800000u;
constexpr uint32_t kQuiet = 0x00400000u;  // first bit of a fraction: what tells a quiet NaN
constexpr int kShift = 23 - 10;
constexpr uint32_t kRebias = (127u - 15u) << 23;

#if defined(__x86_64__)

__attribute__((target("avx,f16c"))) size_t HalfToFloatF16c(const uint16_t* halves, float* floats, size_t n) {
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128i packed = _mm_loadu_si128(reinterpret_cast<const __m128i*>(halves + i));
    _mm256_storeu_ps(floats + i, _mm256_cvtph_ps(packed));
  }
  return i;
}

__attribute__((target("avx,f16c"))) size_t FloatToHalfF16c(const float* floats, uint16_t* halves, size_t n) {
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128i packed = _mm256_cvtps_ph(_mm256_loadu_ps(floats + i), _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(halves + i), packed);
  }
  return i;
}

#endif

}  // namespace

float PortableHalfToFloat(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t exponent = (half >> 10) & 0x1fu;
  const uint32_t fraction = half & 0x3ffu;
  if (exponent == 0x1f) {
    const uint32_t quiet = fraction == 0 ? 0 : kQuiet;
    return std::bit_cast<float>(sign | kFloatInfinity | quiet | fraction << kShift);
  }
  if (exponent == 0) {  // subnormal: fraction * 2^-24
    const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
  }
  return std::bit_cast<float>(sign | (kRebias + (exponent << 23 | fraction << kShift)));
}

uint16_t PortableFloatToHalf(float number) {
  const auto bits = std::bit_cast<uint32_t>(number);
  const uint32_t sign = (bits & kSign) >> 16;
  const uint32_t magnitude = bits & ~kSign;
  if (magnitude > kFloatInfinity) {  // NaN: the first bits of its fraction, quiet
    return static_cast<uint16_t>(sign | 0x7e00u | ((magnitude >> kShift) & 0x3ffu));
  }
  constexpr uint32_t kOverflow = 0x477ff000u;  // 65520, half way between the largest half and 2^16
  if (magnitude >= kOverflow) return static_cast<uint16_t>(sign | 0x7c00u);
  constexpr uint32_t kSmallestNormal = 0x38800000u;  // 2^-14
  if (magnitude < kSmallestNormal) {
    // The unit of 0.5 is 2^-24, that of a subnormal half: the sum is rounded to it, to nearest even.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(0.5f)));
  }
  const uint32_t odd = (magnitude >> kShift) & 1;
  const uint32_t rounded =
      magnitude - kRebias + (1u << (kShift - 1)) - 1 + odd;  // may carry into the exponent
  return static_cast<uint16_t>(sign | rounded >> kShift);
}

void HalfToFloat(std::span<const uint16_t> halves, std::span<float> floats) {
  size_t i = 0;
#if defined(__x86_64__)
  static const bool has_f16c = CpuHasF16c();
  if (has_f16c) i = HalfToFloatF16c(halves.data(), floats.data(), halves.size());
#endif
  for (; i < halves.size(); ++i) floats[i] = PortableHalfToFloat(halves[i]);
}

void FloatToHalf(std::span<const float> floats, std::span<uint16_t> halves) {
  size_t i = 0;
#if defined(__x86_64__)
  static const bool has_f16c = CpuHasF16c();
  if (has_f16c) i = FloatToHalfF16c(floats.data(), halves.data(), floats.size());
#endif
  for (; i < floats.size(); ++i) halves[i] = PortableFloatToHalf(floats[i]);
}

}  // namespace mtm
