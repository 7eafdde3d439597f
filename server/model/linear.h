// SPDX-License-Identifier: Apache-2.0
// Private to server/model: includes LibTorch.
#ifndef MTM_SERVER_MODEL_LINEAR_H_
#define MTM_SERVER_MODEL_LINEAR_H_

#include <ATen/core/Tensor.h>

#include <optional>

#include "memory_store/memory.h"
#include "server/model/packed_matrix.h"

namespace mtm {

// y = activation(x W^T + b). By the CPU's own kernels a row's result has the same bits whatever the other
// rows are (packed_matrix.h); at::linear and at::gelu, which other devices run, do not promise that.
class Linear {
 public:
  // `weight` [n_out, n_in], of any floating type, on the device that will run it; `bias` [n_out] or
  // undefined. `own_kernels` are the CPU's, for weights of any `type` but bfloat16; LibTorch's operations
  // have that or float32.
  Linear(const at::Tensor& weight, const at::Tensor& bias, Activation activation = Activation::kNone,
         WeightType type = WeightType::kF32, bool own_kernels = true);

  // x [n, n_in] -> [n, n_out], float32
  at::Tensor operator()(const at::Tensor& x) const;
  // sum += what it makes of x; sum [n, n_out]
  void AddTo(const at::Tensor& x, at::Tensor& sum) const;

 private:
  Activation activation_;
  std::optional<PackedMatrix> packed_;  // or, on other devices,
  at::Tensor weight_, bias_;
};

}  // namespace mtm

#endif  // MTM_SERVER_MODEL_LINEAR_H_
