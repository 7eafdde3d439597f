// SPDX-License-Identifier: Apache-2.0
#include "server/model/row_kernels.h"

#include <cmath>

#include "server/model/exp.h"

namespace mtm {
namespace {

[[gnu::always_inline]] inline float QuantizeRowHere(std::span<const float> x, uint8_t* to) {
  float largest = 0;
#if !defined(__clang__)  // which warns where it cannot
#pragma omp simd reduction(max : largest)
#endif
  for (size_t i = 0; i < x.size(); ++i) {
    const float magnitude = std::abs(x[i]);
    largest = magnitude > largest ? magnitude : largest;
  }
  const float level = largest / kInt8Levels, per_level = level > 0 ? 1 / level : 0;
  for (size_t i = 0; i < x.size(); ++i) to[i] = static_cast<uint8_t>(kZeroPoint + Level(x[i] * per_level));
  return level;
}

[[gnu::always_inline]] inline void DequantizeRowHere(const int32_t* integers, const int32_t* offsets,
                                                     float input_level, const float* output_levels,
                                                     std::span<float> sums) {
  for (size_t i = 0; i < sums.size(); ++i) {
    sums[i] = static_cast<float>(integers[i] - offsets[i]) * (input_level * output_levels[i]);
  }
}

// The sum of function(x[i]), in 16 sums that are added up in order.
template <typename Function>
[[gnu::always_inline]] inline float Sum(std::span<const float> x, Function function) {
  constexpr size_t kLanes = 16;
  float sums[kLanes] = {};
  const size_t whole = x.size() / kLanes * kLanes;
  for (size_t i = 0; i < whole; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) sums[lane] += function(x[i + lane]);
  }
  float sum = 0;
  for (size_t lane = 0; lane < kLanes; ++lane) sum += sums[lane];
  for (size_t i = whole; i < x.size(); ++i) sum += function(x[i]);
  return sum;
}

[[gnu::always_inline]] inline void NormalizeRowHere(std::span<const float> x, const float* weight,
                                                    const float* bias, float epsilon, float* to) {
  const auto n = static_cast<float>(x.size());
  const auto itself = [](float number) { return number; };
  const float mean = Sum(x, itself) / n;
  const auto squared_deviation = [mean](float number) { return (number - mean) * (number - mean); };
  const float variance = Sum(x, squared_deviation) / n;
  const float scale = 1 / std::sqrt(variance + epsilon);
  for (size_t i = 0; i < x.size(); ++i) to[i] = (x[i] - mean) * scale * weight[i] + bias[i];
}

// x/2 (1 + tanh(u)) = x / (1 + e^-2u) with u = sqrt(2 / pi) (x + 0.044715 x^3)
[[gnu::always_inline]] inline float Gelu(float x) {
  const float u = 0.7978845608f * (x + 0.044715f * x * x * x);
  return x / (1 + Exp(std::min(-2 * u, 88.f)));
}

[[gnu::always_inline]] inline void ActivateHere(std::span<float> row, const float* bias,
                                                Activation activation) {
  for (size_t i = 0; i < row.size(); ++i) row[i] += bias[i];
  if (activation != Activation::kGeluTanh) return;
  for (size_t i = 0; i < row.size(); ++i) row[i] = Gelu(row[i]);
}

#if defined(__x86_64__)

MTM_AVX2 float Avx2QuantizeRow(std::span<const float> x, uint8_t* to) { return QuantizeRowHere(x, to); }
MTM_AVX512 float Avx512QuantizeRow(std::span<const float> x, uint8_t* to) { return QuantizeRowHere(x, to); }

MTM_AVX2 void Avx2DequantizeRow(const int32_t* integers, const int32_t* offsets, float input_level,
                                const float* output_levels, std::span<float> sums) {
  DequantizeRowHere(integers, offsets, input_level, output_levels, sums);
}
MTM_AVX512 void Avx512DequantizeRow(const int32_t* integers, const int32_t* offsets, float input_level,
                                    const float* output_levels, std::span<float> sums) {
  DequantizeRowHere(integers, offsets, input_level, output_levels, sums);
}

MTM_AVX2 void Avx2NormalizeRow(std::span<const float> x, const float* weight, const float* bias,
                               float epsilon, float* to) {
  NormalizeRowHere(x, weight, bias, epsilon, to);
}
MTM_AVX512 void Avx512NormalizeRow(std::span<const float> x, const float* weight, const float* bias,
                                   float epsilon, float* to) {
  NormalizeRowHere(x, weight, bias, epsilon, to);
}

MTM_AVX2 void Avx2Activate(std::span<float> row, const float* bias, Activation activation) {
  ActivateHere(row, bias, activation);
}
MTM_AVX512 void Avx512Activate(std::span<float> row, const float* bias, Activation activation) {
  ActivateHere(row, bias, activation);
}

#endif

}  // namespace

float QuantizeRow(std::span<const float> x, uint8_t* to, [[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
  if (isa >= Isa::kAvx512) return Avx512QuantizeRow(x, to);
  if (isa >= Isa::kAvx2) return Avx2QuantizeRow(x, to);
#endif
  return QuantizeRowHere(x, to);
}

void DequantizeRow(const int32_t* integers, const int32_t* offsets, float input_level,
                   const float* output_levels, std::span<float> sums, [[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
  if (isa >= Isa::kAvx512) return Avx512DequantizeRow(integers, offsets, input_level, output_levels, sums);
  if (isa >= Isa::kAvx2) return Avx2DequantizeRow(integers, offsets, input_level, output_levels, sums);
#endif
  DequantizeRowHere(integers, offsets, input_level, output_levels, sums);
}

void NormalizeRow(std::span<const float> x, const float* weight, const float* bias, float epsilon, float* to,
                  [[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
  if (isa >= Isa::kAvx512) return Avx512NormalizeRow(x, weight, bias, epsilon, to);
  if (isa >= Isa::kAvx2) return Avx2NormalizeRow(x, weight, bias, epsilon, to);
#endif
  NormalizeRowHere(x, weight, bias, epsilon, to);
}

void Activate(std::span<float> row, const float* bias, Activation activation, [[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
  if (isa >= Isa::kAvx512) return Avx512Activate(row, bias, activation);
  if (isa >= Isa::kAvx2) return Avx2Activate(row, bias, activation);
#endif
  ActivateHere(row, bias, activation);
}

}  // namespace mtm
