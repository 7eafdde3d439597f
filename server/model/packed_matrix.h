// SPDX-License-Identifier: Apache-2.0
// Private to server/model: includes LibTorch.
#ifndef MTM_SERVER_MODEL_PACKED_MATRIX_H_
#define MTM_SERVER_MODEL_PACKED_MATRIX_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "memory_store/memory.h"
#include "server/model/row_kernels.h"

namespace mtm {

// The weights and bias of a linear layer on the CPU, packed for panel_kernels.h. What a row gets depends
// neither on the other rows nor on the number of threads. Immutable.
class PackedMatrix {
 public:
  // `weight` [n_out, n_in] and `bias` [n_out] or undefined: of any floating type, on the CPU.
  PackedMatrix(const at::Tensor& weight, const at::Tensor& bias, WeightType type);

  enum class Into { kReplace, kAdd };

  // y = or += activation(x W^T + b); x [n, n_in], y [n, n_out], contiguous; float32
  void Multiply(const at::Tensor& x, Activation activation, Into into, const at::Tensor& y) const;

  int64_t n_out() const { return n_out_; }

 private:
  void PackPanel(int64_t panel, const float* rows);
  void PackInt8Panel(int64_t panel, const float* rows);
  // A panel's sums [n, 48] of `inputs` [n, depth].
  void MultiplyFloat(int64_t panel, const float* inputs, int64_t n, float* sums) const;
  void MultiplyInt8(int64_t panel, const uint8_t* inputs, const float* scales, int64_t n, float* sums) const;
  // Into y [n, n_out].
  void Finish(int64_t panel, float* sums, int64_t n, Activation activation, Into into, float* y) const;

  WeightType type_;
  int64_t n_in_;
  int64_t n_out_;
  int64_t n_panels_;
  int64_t depth_;       // n_in, of kInt8 up to a multiple of 4
  at::Tensor packed_;   // [n_panels, depth, 48]; of kInt8 [n_panels, depth / 4, 48, 4]
  at::Tensor bias_;     // [n_panels * 48], zeros where there is none
  at::Tensor scales_;   // of kInt8: [n_panels * 48], a level of an output's weights
  at::Tensor offsets_;  // of kInt8: [n_panels * 48] int32, what the inputs' zero point adds to each sum
};

}  // namespace mtm

#endif  // MTM_SERVER_MODEL_PACKED_MATRIX_H_
