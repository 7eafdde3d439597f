// SPDX-License-Identifier: Apache-2.0
// Each set of instructions that this processor has, against sums in double or, of integers, in 64 bits.
#include "server/model/panel_kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "memory_store/half.h"
#include "tests/support/isas.h"

namespace mtm {
namespace {

template <typename Number>
std::vector<Number> Random(size_t n, int low, int high, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<Number> numbers(n);
  for (Number& x : numbers)
    x = static_cast<Number>(low + static_cast<int>(random() % static_cast<uint32_t>(high - low + 1)));
  return numbers;
}

std::vector<float> RandomFloats(size_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> numbers(n);
  for (float& x : numbers) x = normal(random);
  return numbers;
}

// The panel is read as weights; its values are `values`.
template <typename Weight>
void ExpectFloatSums(const std::vector<Weight>& panel, const std::vector<float>& values, int64_t n_in) {
  for (int64_t n_rows = 1; n_rows <= 19; ++n_rows) {
    const std::vector<float> x = RandomFloats(static_cast<size_t>(n_rows * n_in), 7);
    std::vector<float>
        fused;  // of the first set that has fused multiply-adds: the others' have the same bits
    for (const Isa isa : Isas()) {
      std::vector<float> sums(static_cast<size_t>(n_rows * kPanelWidth), NAN);
      MultiplyPanel(panel.data(), n_in, x.data(), n_rows, sums.data(), isa);
      for (int64_t row = 0; row < n_rows; ++row) {
        for (int64_t output = 0; output < kPanelWidth; ++output) {
          double expected = 0, magnitude = 0;
          for (int64_t i = 0; i < n_in; ++i) {
            const double product = double{x[static_cast<size_t>(row * n_in + i)]} *
                                   values[static_cast<size_t>(i * kPanelWidth + output)];
            expected += product;
            magnitude += std::abs(product);
          }
          ASSERT_NEAR(sums[static_cast<size_t>(row * kPanelWidth + output)], expected, 1e-6 * magnitude)
              << n_in << " inputs, row " << row << " of " << n_rows << ", instructions " << int(isa);
        }
      }
      if (isa == Isa::kPortable) continue;
      if (fused.empty()) fused = sums;
      EXPECT_EQ(sums, fused);
    }
  }
}

TEST(PanelKernelsTest, SumsOfFloatsAreRight) {
  for (const int64_t n_in : {1, 2, 33, 200}) {
    const std::vector<float> panel = RandomFloats(static_cast<size_t>(n_in * kPanelWidth), 3);
    ExpectFloatSums(panel, panel, n_in);
  }
}

TEST(PanelKernelsTest, SumsOfHalvesAreRight) {
  for (const int64_t n_in : {1, 2, 33, 200}) {
    std::vector<float> values = RandomFloats(static_cast<size_t>(n_in * kPanelWidth), 4);
    std::vector<uint16_t> panel(values.size());
    FloatToHalf(values, panel);
    HalfToFloat(panel, values);
    ExpectFloatSums(panel, values, n_in);
  }
}

TEST(PanelKernelsTest, SumsOfIntegersAreExact) {
  for (const int64_t n_in : {4, 8, 36, 3072}) {
    const auto panel = Random<int8_t>(static_cast<size_t>(n_in * kPanelWidth), -127, 127, 5);
    for (const int64_t n_rows : {1, 2, 3, 7, 8, 9, 20}) {
      const auto x = Random<uint8_t>(static_cast<size_t>(n_rows * n_in), 0, 255, 6);
      for (const Isa isa : Isas()) {
        std::vector<int32_t> sums(static_cast<size_t>(n_rows * kPanelWidth), -1);
        MultiplyPanel(panel.data(), n_in, x.data(), n_rows, sums.data(), isa);
        for (int64_t row = 0; row < n_rows; ++row) {
          for (int64_t output = 0; output < kPanelWidth; ++output) {
            int64_t expected = 0;
            for (int64_t i = 0; i < n_in; ++i) {
              const int64_t at = (i / kInt8Group * kPanelWidth + output) * kInt8Group + i % kInt8Group;
              expected += int64_t{panel[static_cast<size_t>(at)]} * x[static_cast<size_t>(row * n_in + i)];
            }
            ASSERT_EQ(sums[static_cast<size_t>(row * kPanelWidth + output)], expected)
                << n_in << " inputs, row " << row << " of " << n_rows << ", instructions " << int(isa);
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace mtm
