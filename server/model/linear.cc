// SPDX-License-Identifier: Apache-2.0
#include "server/model/linear.h"

#include <ATen/Functions.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <algorithm>
#include <bit>
#include <cstdint>
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
  return op.call(x, weight, bias.defined() ? std::optional<Tensor>(bias) : std::nullopt,
                 gelu ? "gelu" : "none", c10::List<std::optional<at::Scalar>>(), gelu ? "tanh" : "");
}

// The same for any number of rows, of which the kernels see only some.
Tensor PaddedProduct(const Tensor& x, const Tensor& weight, const Tensor& bias, Activation activation) {
  const int64_t n = x.size(0), n_padded = PaddedRows(n);
  if (n_padded == n) return PackedProduct(x, weight, bias, activation);
  const Tensor padded = at::empty({n_padded, x.size(1)}, x.options());
  padded.narrow(0, 0, n).copy_(x);
  padded.narrow(0, n, n_padded - n).zero_();
  return PackedProduct(padded, weight, bias, activation).narrow(0, 0, n);
}

bool CanPack(const Tensor& weight) {
  static const bool has_op =
      at::hasMKLDNN() &&
      c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", ""}).has_value();
  return has_op && weight.device().is_cpu();
}

}  // namespace

int64_t PaddedRows(int64_t n) {
  if (n <= 8) return std::max<int64_t>(n, 2);
  const auto step = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(n))) / 8;
  return (n + step - 1) / step * step;
}

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
  return PaddedProduct(x, weight_, bias_, activation_);
}

}  // namespace mtm
