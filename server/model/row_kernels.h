// SPDX-License-Identifier: Apache-2.0
// What a product does with each row before and after panel_kernels.h: inputs in 8 bits, bias and activation.
// Every number is computed by itself.
#ifndef MTM_SERVER_MODEL_ROW_KERNELS_H_
#define MTM_SERVER_MODEL_ROW_KERNELS_H_

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "memory_store/cpu.h"

namespace mtm {

enum class Activation { kNone, kGeluTanh };

inline constexpr float kInt8Levels = 127;  // a side
inline constexpr int kZeroPoint = 128;     // of inputs, which are unsigned

// To the nearest level, halves to the even one; what is no number becomes the lowest. |scaled| of any size.
[[gnu::always_inline]] inline int32_t Level(float scaled) {
  constexpr float kRounder = 12582912.f;  // 1.5 * 2^23: adding it rounds
  // Not std::min and std::max, whose references keep a loop from becoming vector instructions.
  const float not_below = scaled > -kInt8Levels ? scaled : -kInt8Levels;
  const float bounded = not_below < kInt8Levels ? not_below : kInt8Levels;
  return std::bit_cast<int32_t>(bounded + kRounder) - std::bit_cast<int32_t>(kRounder);
}

// to[i] = x[i] in levels of the row's own largest, and the zero point. Returns the size of a level. The same
// with any instructions.
float QuantizeRow(std::span<const float> x, uint8_t* to, Isa isa = BestIsa());

// sums[i] = (integers[i] - offsets[i]) * input_level * output_levels[i]
void DequantizeRow(const int32_t* integers, const int32_t* offsets, float input_level,
                   const float* output_levels, std::span<float> sums, Isa isa = BestIsa());

// to = (x - mean) / sqrt(variance + epsilon) * weight + bias; [x.size()] each.
void NormalizeRow(std::span<const float> x, const float* weight, const float* bias, float epsilon, float* to,
                  Isa isa = BestIsa());

// row[i] = activation(row[i] + bias[i]); GELU in its tanh form.
void Activate(std::span<float> row, const float* bias, Activation activation, Isa isa = BestIsa());

}  // namespace mtm

#endif  // MTM_SERVER_MODEL_ROW_KERNELS_H_
