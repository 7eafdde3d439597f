// SPDX-License-Identifier: Apache-2.0
#include "server/model/linear.h"

#include <ATen/Functions.h>

namespace mtm {

using at::Tensor;

Linear::Linear(const Tensor& weight, const Tensor& bias, Activation activation, WeightType type,
               bool own_kernels)
    : activation_(activation) {
  if (own_kernels) {
    packed_.emplace(weight, bias, type);
  } else {
    weight_ = weight.to(type == WeightType::kBF16 ? at::kBFloat16 : at::kFloat);
    bias_ = bias.defined() ? bias.to(at::kFloat) : bias;
  }
}

Tensor Linear::operator()(const Tensor& x) const {
  if (packed_) {
    const Tensor y = at::empty({x.size(0), packed_->n_out()}, x.options());
    packed_->Multiply(x, activation_, PackedMatrix::Into::kReplace, y);
    return y;
  }
  Tensor y = at::linear(x.to(weight_.scalar_type()), weight_).to(at::kFloat);
  if (bias_.defined()) y.add_(bias_);
  return activation_ == Activation::kGeluTanh ? at::gelu(y, "tanh") : y;
}

void Linear::AddTo(const Tensor& x, Tensor& sum) const {
  if (packed_) return packed_->Multiply(x, activation_, PackedMatrix::Into::kAdd, sum);
  sum.add_((*this)(x));
}

}  // namespace mtm
