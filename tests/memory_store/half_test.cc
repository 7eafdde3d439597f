// SPDX-License-Identifier: Apache-2.0
#include "memory_store/half.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "tests/model/random_seed.h"

namespace mtm {
namespace {

std::vector<uint16_t> AllHalves() {
  std::vector<uint16_t> halves(1 << 16);
  for (size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<uint16_t>(i);
  return halves;
}

// By the definition of binary16: sign, 5 bits of exponent, 10 of fraction.
double Value(uint16_t half) {
  const double sign = half & 0x8000 ? -1 : 1;
  const int exponent = (half >> 10) & 31;
  const int fraction = half & 1023;
  if (exponent == 31) return fraction == 0 ? sign * INFINITY : NAN;
  return sign * (exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25));
}

uint16_t Convert(float number) {
  // Eight of them: what the processor converts at once.
  const std::vector<float> floats(8, number);
  std::vector<uint16_t> halves(8);
  FloatToHalf(floats, halves);
  for (const uint16_t half : halves) EXPECT_EQ(half, PortableFloatToHalf(number)) << number;
  return halves[0];
}

TEST(HalfTest, EveryHalfIsItsValueWithAndWithoutInstructions) {
  const std::vector<uint16_t> halves = AllHalves();
  std::vector<float> floats(halves.size());
  HalfToFloat(halves, floats);
  for (size_t i = 0; i < halves.size(); ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(floats[i]), std::bit_cast<uint32_t>(PortableHalfToFloat(halves[i])))
        << i;
    if (std::isnan(Value(halves[i]))) {
      ASSERT_TRUE(std::isnan(floats[i])) << i;
    } else {
      ASSERT_EQ(static_cast<double>(floats[i]), Value(halves[i])) << i;
      ASSERT_EQ(std::signbit(floats[i]), std::signbit(Value(halves[i]))) << i;
    }
  }
}

TEST(HalfTest, EveryHalfComesBack) {
  const std::vector<uint16_t> halves = AllHalves();
  std::vector<float> floats(halves.size());
  std::vector<uint16_t> back(halves.size());
  HalfToFloat(halves, floats);
  FloatToHalf(floats, back);
  for (size_t i = 0; i < halves.size(); ++i) {
    const bool is_nan = std::isnan(Value(halves[i]));
    ASSERT_EQ(back[i], is_nan ? halves[i] | 0x0200 : halves[i]) << i;  // a NaN becomes quiet
    ASSERT_EQ(PortableFloatToHalf(floats[i]), back[i]) << i;
  }
}

// Between any two neighbouring halves: just below the middle, the middle, just above it.
TEST(HalfTest, RoundsToTheNearestAndTiesToEven) {
  for (int sign = 0; sign <= 1; ++sign) {
    for (uint16_t low = 0; low < 0x7bff; ++low) {
      const uint16_t bit = sign == 0 ? 0 : 0x8000;
      const auto lower = static_cast<uint16_t>(low | bit);
      const auto upper = static_cast<uint16_t>((low + 1) | bit);
      const auto middle = static_cast<float>((Value(lower) + Value(upper)) / 2);  // exact: it takes 12 bits
      const uint16_t even = low % 2 == 0 ? lower : upper;
      ASSERT_EQ(Convert(middle), even) << middle;
      ASSERT_EQ(Convert(std::nextafter(middle, 0.f)), lower) << middle;
      ASSERT_EQ(Convert(std::nextafter(middle, sign == 0 ? INFINITY : -INFINITY)), upper) << middle;
    }
  }
}

TEST(HalfTest, WhatIsTooLargeBecomesInfinite) {
  EXPECT_EQ(Convert(65504.f), 0x7bff);
  EXPECT_EQ(Convert(std::nextafter(65520.f, 0.f)), 0x7bff);
  EXPECT_EQ(Convert(65520.f), 0x7c00);
  EXPECT_EQ(Convert(-65520.f), 0xfc00);
  EXPECT_EQ(Convert(std::numeric_limits<float>::max()), 0x7c00);
  EXPECT_EQ(Convert(INFINITY), 0x7c00);
  EXPECT_EQ(Convert(std::numeric_limits<float>::denorm_min()), 0);
  EXPECT_EQ(Convert(-std::numeric_limits<float>::denorm_min()), 0x8000);
}

TEST(HalfTest, AnyBitsAreConvertedAlikeWithAndWithoutInstructions) {
  std::mt19937 random(static_cast<uint32_t>(RandomSeed(1)));
  std::vector<float> floats(1'000'003);  // not a multiple of eight
  for (float& x : floats) x = std::bit_cast<float>(static_cast<uint32_t>(random()));
  std::vector<uint16_t> halves(floats.size());
  FloatToHalf(floats, halves);
  for (size_t i = 0; i < floats.size(); ++i) {
    ASSERT_EQ(halves[i], PortableFloatToHalf(floats[i])) << std::bit_cast<uint32_t>(floats[i]);
  }
}

}  // namespace
}  // namespace mtm
