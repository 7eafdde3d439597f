// SPDX-License-Identifier: Apache-2.0
// Private to server/model: includes LibTorch.
#ifndef MTM_SERVER_MODEL_LINEAR_H_
#define MTM_SERVER_MODEL_LINEAR_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

namespace mtm {

enum class Activation { kNone, kGeluTanh };

// The number of rows that a product of n >= 1 rows is run with on the CPU: two at least, since a single one
// takes another kernel, which sums long rows in another order; and one of four an octave beyond eight, since
// oneDNN makes kernels for each number, which takes milliseconds, and keeps them, some 2 MB.
int64_t PaddedRows(int64_t n);

// y = activation(x W^T + b). On the CPU W is repacked once for oneDNN, whose product was found to give each
// row the same bits whatever the number of rows, from 2 rows on (tests/model/linear_test.cc); at::linear does
// not, and is slower. Nor does at::gelu: what it leaves over from whole vectors it computes another way, and
// where that lies depends on the number of rows and threads.
class Linear {
 public:
  // `weight` [n_out, n_in], float32, on the device that will run it; `bias` [n_out] or undefined.
  Linear(const at::Tensor& weight, at::Tensor bias, Activation activation = Activation::kNone);

  // x [n, n_in] -> [n, n_out]
  at::Tensor operator()(const at::Tensor& x) const;

 private:
  at::Tensor weight_;  // packed, or as given
  at::Tensor bias_;
  Activation activation_;
  bool packed_ = false;
};

}  // namespace mtm

#endif  // MTM_SERVER_MODEL_LINEAR_H_
