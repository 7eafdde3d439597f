// SPDX-License-Identifier: Apache-2.0
#include "server/model/packed_matrix.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <vector>

#include "memory_store/half.h"
#include "server/model/panel_kernels.h"
#include "server/model/row_kernels.h"

namespace mtm {
namespace {

using at::Tensor;

// Rows whose inputs stay in a core's cache while the panels go by.
constexpr int64_t kRowsAtOnce = 64;

// Multiplications that are worth a thread.
constexpr int64_t kWorkPerThread = 1 << 17;

constexpr float kLargestHalf = 65504;

int64_t ThreadGrain(int64_t work) {
  return std::max<int64_t>(1, kWorkPerThread / std::max<int64_t>(work, 1));
}

// Inputs in 8 bits: of each row by its own largest.
struct QuantizedRows {
  std::vector<uint8_t> numbers;  // [n, depth]
  std::vector<float> scales;     // [n], a level
};

QuantizedRows Quantize(const float* x, int64_t n, int64_t n_in, int64_t depth) {
  QuantizedRows rows{.numbers = std::vector<uint8_t>(static_cast<size_t>(n * depth), kZeroPoint),
                     .scales = std::vector<float>(static_cast<size_t>(n))};
  at::parallel_for(0, n, ThreadGrain(n_in), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      rows.scales[static_cast<size_t>(row)] = QuantizeRow({x + row * n_in, static_cast<size_t>(n_in)},
                                                          &rows.numbers[static_cast<size_t>(row * depth)]);
    }
  });
  return rows;
}

}  // namespace

PackedMatrix::PackedMatrix(const Tensor& weight, const Tensor& bias, WeightType type)
    : type_(type),
      n_in_(weight.size(1)),
      n_out_(weight.size(0)),
      n_panels_((n_out_ + kPanelWidth - 1) / kPanelWidth),
      depth_(type == WeightType::kInt8 ? (n_in_ + kInt8Group - 1) / kInt8Group * kInt8Group : n_in_),
      bias_(at::zeros({n_panels_ * kPanelWidth}, at::kFloat)) {
  assert(type != WeightType::kBF16);
  if (bias.defined()) bias_.narrow(0, 0, n_out_).copy_(bias);
  const at::ScalarType stored = type == WeightType::kF32   ? at::kFloat
                                : type == WeightType::kF16 ? at::kHalf
                                                           : at::kChar;
  packed_ = at::empty({n_panels_ * depth_ * kPanelWidth}, stored);
  if (type == WeightType::kInt8) {
    scales_ = at::zeros_like(bias_);
    offsets_ = at::zeros({n_panels_ * kPanelWidth}, at::kInt);
  }
  // A panel's weights as rows: a view of a checkpoint's tensor is read in the order in which it lies.
  at::parallel_for(0, n_panels_, 1, [&](int64_t begin, int64_t end) {
    const c10::InferenceMode inference;
    std::vector<float> rows(static_cast<size_t>(kPanelWidth * depth_));
    for (int64_t panel = begin; panel < end; ++panel) {
      const int64_t first = panel * kPanelWidth, n = std::min(kPanelWidth, n_out_ - first);
      std::fill(rows.begin(), rows.end(), 0.f);
      at::from_blob(rows.data(), {kPanelWidth, depth_}, at::kFloat)
          .narrow(0, 0, n)
          .narrow(1, 0, n_in_)
          .copy_(weight.narrow(0, first, n));
      PackPanel(panel, rows.data());
    }
  });
}

// rows [48, depth]
void PackedMatrix::PackPanel(int64_t panel, const float* rows) {
  if (type_ == WeightType::kInt8) return PackInt8Panel(panel, rows);
  const int64_t begin = panel * depth_ * kPanelWidth;
  std::vector<float> transposed;
  float* to = nullptr;
  if (type_ == WeightType::kF32) {
    to = packed_.mutable_data_ptr<float>() + begin;
  } else {
    transposed.resize(static_cast<size_t>(depth_ * kPanelWidth));
    to = transposed.data();
  }
  for (int64_t i = 0; i < depth_; ++i) {
    for (int64_t output = 0; output < kPanelWidth; ++output)
      to[i * kPanelWidth + output] = rows[output * depth_ + i];
  }
  if (type_ == WeightType::kF32) return;
  for (float& x : transposed) x = std::clamp(x, -kLargestHalf, kLargestHalf);
  FloatToHalf(transposed,
              {reinterpret_cast<uint16_t*>(packed_.mutable_data_ptr<at::Half>()) + begin, transposed.size()});
}

void PackedMatrix::PackInt8Panel(int64_t panel, const float* rows) {
  int8_t* const to = packed_.mutable_data_ptr<int8_t>() + panel * depth_ * kPanelWidth;
  for (int64_t output = 0; output < kPanelWidth; ++output) {
    const float* const row = rows + output * depth_;
    float largest = 0;
    for (int64_t i = 0; i < depth_; ++i) largest = std::max(largest, std::abs(row[i]));
    const float scale = largest / kInt8Levels;
    const float per_scale = scale > 0 ? 1 / scale : 0;
    int32_t sum = 0;
    for (int64_t i = 0; i < depth_; ++i) {
      const int level = Level(row[i] * per_scale);
      to[(i / kInt8Group * kPanelWidth + output) * kInt8Group + i % kInt8Group] = static_cast<int8_t>(level);
      sum += level;
    }
    scales_.mutable_data_ptr<float>()[panel * kPanelWidth + output] = scale;
    offsets_.mutable_data_ptr<int32_t>()[panel * kPanelWidth + output] = kZeroPoint * sum;
  }
}

void PackedMatrix::Multiply(const Tensor& x, Activation activation, Into into, const Tensor& y) const {
  const Tensor inputs = x.contiguous();
  const int64_t n = inputs.size(0);
  const float* const from = inputs.const_data_ptr<float>();
  float* const to = y.mutable_data_ptr<float>();
  QuantizedRows quantized;
  if (type_ == WeightType::kInt8) quantized = Quantize(from, n, n_in_, depth_);
  for (int64_t first = 0; first < n; first += kRowsAtOnce) {
    const int64_t n_rows = std::min(kRowsAtOnce, n - first);
    const int64_t grain = ThreadGrain(n_rows * depth_ * kPanelWidth);
    at::parallel_for(0, n_panels_, grain, [&](int64_t begin, int64_t end) {
      float sums[kRowsAtOnce * kPanelWidth];
      for (int64_t panel = begin; panel < end; ++panel) {
        if (type_ == WeightType::kInt8) {
          MultiplyInt8(panel, &quantized.numbers[static_cast<size_t>(first * depth_)],
                       &quantized.scales[static_cast<size_t>(first)], n_rows, sums);
        } else {
          MultiplyFloat(panel, from + first * n_in_, n_rows, sums);
        }
        Finish(panel, sums, n_rows, activation, into, to + first * n_out_);
      }
    });
  }
}

void PackedMatrix::MultiplyFloat(int64_t panel, const float* inputs, int64_t n, float* sums) const {
  const int64_t begin = panel * depth_ * kPanelWidth;
  if (type_ == WeightType::kF32) {
    MultiplyPanel(packed_.const_data_ptr<float>() + begin, depth_, inputs, n, sums);
  } else {
    const auto* const halves = reinterpret_cast<const uint16_t*>(packed_.const_data_ptr<at::Half>());
    MultiplyPanel(halves + begin, depth_, inputs, n, sums);
  }
}

void PackedMatrix::MultiplyInt8(int64_t panel, const uint8_t* inputs, const float* scales, int64_t n,
                                float* sums) const {
  int32_t integers[kRowsAtOnce * kPanelWidth];
  MultiplyPanel(packed_.const_data_ptr<int8_t>() + panel * depth_ * kPanelWidth, depth_, inputs, n, integers);
  const int32_t* const offsets = offsets_.const_data_ptr<int32_t>() + panel * kPanelWidth;
  const float* const output_scales = scales_.const_data_ptr<float>() + panel * kPanelWidth;
  for (int64_t row = 0; row < n; ++row) {
    DequantizeRow(integers + row * kPanelWidth, offsets, scales[row], output_scales,
                  {sums + row * kPanelWidth, size_t{kPanelWidth}});
  }
}

void PackedMatrix::Finish(int64_t panel, float* sums, int64_t n, Activation activation, Into into,
                          float* y) const {
  const float* const bias = bias_.const_data_ptr<float>() + panel * kPanelWidth;
  const int64_t first = panel * kPanelWidth, width = std::min(kPanelWidth, n_out_ - first);
  for (int64_t row = 0; row < n; ++row) {
    float* const outputs = sums + row * kPanelWidth;
    // Always a whole panel, so that no output is computed another way than its neighbours.
    Activate({outputs, size_t{kPanelWidth}}, bias, activation);
    float* const to = y + row * n_out_ + first;
    if (into == Into::kReplace) {
      std::copy(outputs, outputs + width, to);
    } else {
      for (int64_t i = 0; i < width; ++i) to[i] += outputs[i];
    }
  }
}

}  // namespace mtm
