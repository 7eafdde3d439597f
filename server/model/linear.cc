// SPDX-License-Identifier: Apache-2.0
#include "server/model/linear.h"

#include <ATen/Functions.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <string_view>

namespace mtm {
namespace {

using at::Tensor;

// The number of rows that the packing is chosen for: a decode step of a few sequences.
constexpr int64_t kPackedForRows = 8;

Tensor Pack(const Tensor& weight) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("mkldnn::_reorder_linear_weight", "")
                             .typed<Tensor(const Tensor&, std::optional<int64_t>)>();
  return op.call(weight.contiguous(), kPackedForRows);
}

Tensor PackedProduct(const Tensor& x, const Tensor& weight, const Tensor& bias, Activation activation) {
  static const auto op =
      c10::Dispatcher::singleton()
          .findSchemaOrThrow("mkldnn::_linear_pointwise", "")
          .typed<Tensor(const Tensor&, const Tensor&, const std::optional<Tensor>&, std::string_view,
                        c10::List<std::optional<at::Scalar>>, std::optional<std::string_view>)>();
  const bool gelu = activation == Activation::kGeluTanh;
  return op.call(x, weight, bias.defined() ? std::optional<Tensor>(bias) : std::nullopt, gelu ? "gelu" : "none",
                 c10::List<std::optional<at::Scalar>>(), gelu ? "tanh" : "");
}

bool CanPack(const Tensor& weight) {
  static const bool has_op =
      at::hasMKLDNN() && c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", ""}).has_value();
  return has_op && weight.device().is_cpu();
}

}  // namespace

Linear::Linear(const Tensor& weight, Tensor bias, Activation activation)
    : weight_(weight), bias_(std::move(bias)), activation_(activation) {
  if (!CanPack(weight)) return;
  weight_ = Pack(weight);
  packed_ = true;
}

Tensor Linear::operator()(const Tensor& x) const {
  if (!packed_) {
    const Tensor y = at::linear(x, weight_, bias_.defined() ? std::optional<Tensor>(bias_) : std::nullopt);
    return activation_ == Activation::kGeluTanh ? at::gelu(y, "tanh") : y;
  }
  if (x.size(0) > 1) return PackedProduct(x, weight_, bias_, activation_);
  // A single row takes another kernel, which sums long rows in another order.
  return PackedProduct(x.expand({2, x.size(1)}).contiguous(), weight_, bias_, activation_).narrow(0, 0, 1);
}

}  // namespace mtm
