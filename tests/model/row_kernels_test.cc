// SPDX-License-Identifier: Apache-2.0
// Each set of instructions that this processor has, against the definitions.
#include "server/model/row_kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "tests/support/isas.h"

namespace mtm {
namespace {

std::vector<float> Random(size_t n, float scale) {
  std::mt19937 random(static_cast<uint32_t>(n));
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> numbers(n);
  for (float& x : numbers) x = normal(random);
  return numbers;
}

TEST(RowKernelsTest, ARowIsQuantizedByItsLargest) {
  for (const size_t n : {1u, 3u, 16u, 50u, 768u, 3072u}) {
    for (const float scale : {1e-30f, 1.f, 1e30f}) {
      const std::vector<float> x = Random(n, scale);
      float largest = 0;
      for (const float number : x) largest = std::max(largest, std::abs(number));
      for (const Isa isa : Isas()) {
        std::vector<uint8_t> levels(n);
        const float level = QuantizeRow(x, levels.data(), isa);
        ASSERT_EQ(level, largest / 127);
        for (size_t i = 0; i < n; ++i)
          ASSERT_EQ(levels[i], 128 + std::nearbyint(x[i] * (1 / level)))
              << i << " of " << n << " " << int(isa);
      }
    }
  }
}

TEST(RowKernelsTest, HalvesOfALevelGoToTheEvenOne) {
  for (const Isa isa : Isas()) {
    std::vector<float> x(20, 0);
    x[0] = 127, x[1] = 0.5, x[2] = 1.5, x[3] = 2.5, x[4] = -0.5, x[5] = -1.5, x[19] = -127;
    std::vector<uint8_t> levels(x.size());
    EXPECT_EQ(QuantizeRow(x, levels.data(), isa), 1);
    EXPECT_EQ(std::vector<uint8_t>(levels.begin(), levels.begin() + 7),
              (std::vector<uint8_t>{255, 128, 130, 130, 128, 126, 128}));
    EXPECT_EQ(levels[19], 1);
  }
}

TEST(RowKernelsTest, ARowOfZerosOrOfNoNumbersIsQuantized) {
  for (const Isa isa : Isas()) {
    std::vector<float> x(20, 0);
    std::vector<uint8_t> levels(x.size(), 7);
    EXPECT_EQ(QuantizeRow(x, levels.data(), isa), 0);
    EXPECT_EQ(levels, std::vector<uint8_t>(x.size(), 128));
    x[3] = std::numeric_limits<float>::quiet_NaN(), x[4] = 1;
    QuantizeRow(x, levels.data(), isa);
    EXPECT_EQ(levels[3], 1);
    EXPECT_EQ(levels[4], 255);
  }
}

TEST(RowKernelsTest, SumsOfLevelsAreTurnedBack) {
  for (const Isa isa : Isas()) {
    const std::vector<int32_t> integers = {1 << 20, -5, 7}, offsets = {1, 0, 7};
    const std::vector<float> levels = {0.5f, 2, 3};
    std::vector<float> sums(3);
    DequantizeRow(integers.data(), offsets.data(), 0.25f, levels.data(), sums, isa);
    EXPECT_EQ(sums, (std::vector<float>{((1 << 20) - 1) * 0.125f, -2.5f, 0}));
  }
}

TEST(RowKernelsTest, ARowIsNormalized) {
  for (const size_t n : {1u, 3u, 16u, 50u, 768u, 3072u}) {
    for (const float offset : {0.f, 100.f}) {
      std::vector<float> x = Random(n, 3), weight = Random(n, 1), bias = Random(n, 2);
      double mean = 0, variance = 0;
      for (float& number : x) mean += number += offset;
      mean /= static_cast<double>(n);
      for (const float number : x) variance += (number - mean) * (number - mean);
      variance /= static_cast<double>(n);
      for (const Isa isa : Isas()) {
        std::vector<float> out(n, NAN);
        NormalizeRow(x, weight.data(), bias.data(), 1e-5f, out.data(), isa);
        for (size_t i = 0; i < n; ++i) {
          const double expected = (x[i] - mean) / std::sqrt(variance + 1e-5) * weight[i] + bias[i];
          // A float's unit of the offset, in standard deviations.
          ASSERT_NEAR(out[i], expected, 1e-5 + 2e-5 * offset) << i << " of " << n << " " << int(isa);
        }
      }
    }
  }
}

TEST(RowKernelsTest, ARowOfEqualNumbersIsNormalizedToTheBias) {
  for (const Isa isa : Isas()) {
    const std::vector<float> x(50, 2), weight(50, 3), bias(50, 4);
    std::vector<float> out(50);
    NormalizeRow(x, weight.data(), bias.data(), 1e-5f, out.data(), isa);
    EXPECT_EQ(out, bias);
  }
}

TEST(RowKernelsTest, TheActivationIsTheEquation) {
  const std::vector<float> bias = Random(48, 0.1f);
  for (const Isa isa : Isas()) {
    for (const float scale : {0.01f, 1.f, 30.f}) {
      const std::vector<float> row = Random(48, scale);
      std::vector<float> plain = row, gelu = row;
      Activate(plain, bias.data(), Activation::kNone, isa);
      Activate(gelu, bias.data(), Activation::kGeluTanh, isa);
      for (size_t i = 0; i < row.size(); ++i) {
        const float x = row[i] + bias[i];
        EXPECT_EQ(plain[i], x);
        const double u = std::sqrt(2 / M_PI) * (double{x} + 0.044715 * std::pow(x, 3));
        EXPECT_NEAR(gelu[i], 0.5 * x * (1 + std::tanh(u)), 1e-6 * std::max(1.f, std::abs(x))) << x;
      }
    }
  }
}

}  // namespace
}  // namespace mtm
