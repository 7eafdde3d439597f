// SPDX-License-Identifier: Apache-2.0
#include "server/model/linear.h"

#include <ATen/Functions.h>

namespace mtm {

using at::Tensor;

Linear::Linear(const Tensor& weight, const Tensor& bias, Activation activation, WeightType type)
    : activation_(activation) {
  if (weight.device().is_cpu()) {
    packed_.emplace(weight, bias, type);
  } else {
    weight_ = weight.to(at::kFloat);
    bias_ = bias.defined() ? bias.to(at::kFloat) : bias;
  }
}

Tensor Linear::operator()(const Tensor& x) const {
  if (packed_) return packed_->Multiply(x, activation_);
  const Tensor y = at::linear(x, weight_, bias_.defined() ? std::optional<Tensor>(bias_) : std::nullopt);
  return activation_ == Activation::kGeluTanh ? at::gelu(y, "tanh") : y;
}

}  // namespace mtm
