// SPDX-License-Identifier: Apache-2.0
// A row of a product must not depend on how many rows there are, nor on its place among them: what a request
// gets would depend on its neighbours.
#include "server/model/linear.h"

#include <ATen/Context.h>
#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

namespace mtm {
namespace {

using at::Tensor;

constexpr int kMaxRows = 128;

bool SameBits(const Tensor& a, const Tensor& b) {
  return a.sizes() == b.sizes() &&
         std::memcmp(a.contiguous().const_data_ptr(), b.contiguous().const_data_ptr(), a.nbytes()) == 0;
}

Tensor Random(at::IntArrayRef shape, float scale) {
  static at::Generator generator = [] {
    at::Generator g = at::globalContext().defaultGenerator(at::kCPU).clone();
    g.set_current_seed(1);
    return g;
  }();
  return at::empty(shape, at::kFloat).normal_(0, scale, generator);
}

struct Shape {
  int64_t n_in, n_out;
};

constexpr WeightType kWeightTypes[] = {WeightType::kF32, WeightType::kF16, WeightType::kInt8};

// Batches of each size, which start at row 0 or end at the last row, against all rows, whatever the weights
// are.
void ExpectRowsIndependent(const Shape& shape, const std::vector<int>& sizes,
                           Activation activation = Activation::kNone) {
  const c10::InferenceMode inference;
  const Tensor weight = Random({shape.n_out, shape.n_in}, 0.02f), bias = Random({shape.n_out}, 0.02f);
  const Tensor x = Random({kMaxRows, shape.n_in}, 1);
  for (const WeightType type : kWeightTypes) {
    const Linear linear(weight, bias, activation, type);
    const Tensor all = linear(x);
    for (const int n_rows : sizes) {
      EXPECT_TRUE(SameBits(linear(x.narrow(0, 0, n_rows)), all.narrow(0, 0, n_rows)))
          << NameOf(type) << ": " << shape.n_in << " -> " << shape.n_out << ", first " << n_rows << " rows";
      const int first = kMaxRows - n_rows;
      EXPECT_TRUE(SameBits(linear(x.narrow(0, first, n_rows)), all.narrow(0, first, n_rows)))
          << NameOf(type) << ": " << shape.n_in << " -> " << shape.n_out << ", last " << n_rows << " rows";
    }
  }
}

TEST(LinearTest, WhatIsAddedIsTheProduct) {
  const c10::InferenceMode inference;
  for (const WeightType type : kWeightTypes) {
    const Linear linear(Random({100, 70}, 0.02f), Random({100}, 0.02f), Activation::kNone, type);
    const Tensor x = Random({9, 70}, 1), before = Random({9, 100}, 1);
    Tensor sum = before.clone();
    linear.AddTo(x, sum);
    EXPECT_TRUE(SameBits(sum, before + linear(x))) << NameOf(type);
  }
}

TEST(LinearTest, LibTorchsThreadsShareOurLoops) {
  const int n_threads = at::get_num_threads();
  at::set_num_threads(2);
  std::atomic<int> n_parts = 0;
  at::parallel_for(0, 2, 1, [&](int64_t, int64_t) { ++n_parts; });
  EXPECT_EQ(n_parts, 2);
  at::set_num_threads(n_threads);
}

std::vector<int> SizesTo40() {
  std::vector<int> sizes;
  for (int n = 1; n <= 40; ++n) sizes.push_back(n);
  for (const int n : {63, 64, 65, 100, 127}) sizes.push_back(n);
  return sizes;
}

// A block's four products.
std::vector<Shape> BlockShapes(int64_t d, int64_t inner) {
  return {{d, 3 * d}, {d, d}, {d, inner}, {inner, d}};
}

TEST(LinearTest, RowsAreIndependentInGpt2Small) {
  for (const Shape& shape : BlockShapes(768, 3072)) ExpectRowsIndependent(shape, SizesTo40());
}

TEST(LinearTest, RowsAreIndependentInASmallModel) {
  for (const Shape& shape : BlockShapes(256, 1024)) ExpectRowsIndependent(shape, SizesTo40());
  ExpectRowsIndependent({256, 4096}, SizesTo40());
}

TEST(LinearTest, RowsAreIndependentInGpt2Xl) {
  for (const Shape& shape : BlockShapes(1600, 6400))
    ExpectRowsIndependent(shape, {1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 31, 40});
}

TEST(LinearTest, RowsAreIndependentInTheHead) { ExpectRowsIndependent({768, 50257}, {1, 2, 3, 5, 8, 17}); }

TEST(LinearTest, RowsAreIndependentInOddShapes) {
  for (const int64_t n_in : {1, 5, 33, 129}) {
    for (const int64_t n_out : {1, 7, 100}) ExpectRowsIndependent({n_in, n_out}, {1, 2, 3, 6, 16, 40});
  }
}

// A whole context in one step, beside sequences that generate.
TEST(LinearTest, RowsAreIndependentOfALongPrompt) {
  const c10::InferenceMode inference;
  for (const Shape& shape : {Shape{768, 768}, Shape{256, 1024}, Shape{1024, 256}}) {
    const Linear linear(Random({shape.n_out, shape.n_in}, 0.02f), Random({shape.n_out}, 0.02f));
    const Tensor x = Random({1024, shape.n_in}, 1), all = linear(x);
    for (const int n_rows : {1, 8, 128, 129, 500, 1000}) {
      EXPECT_TRUE(SameBits(linear(x.narrow(0, 1024 - n_rows, n_rows)), all.narrow(0, 1024 - n_rows, n_rows)))
          << n_rows;
    }
  }
}

TEST(LinearTest, RowsAreIndependentWithMoreThreads) {
  const int n_threads = at::get_num_threads();
  for (const int n : {1, 3, 5, 8}) {
    at::set_num_threads(n);
    for (const Shape& shape : BlockShapes(256, 1024)) ExpectRowsIndependent(shape, SizesTo40());
  }
  at::set_num_threads(n_threads);
}

// Also where a row ends within a vector register, or a thread's part within a row.
TEST(LinearTest, RowsAreIndependentUnderGelu) {
  const int n_threads = at::get_num_threads();
  for (const int n : {1, 2, 3, 5}) {
    at::set_num_threads(n);
    for (const Shape& shape : {Shape{15, 37}, Shape{48, 100}, Shape{256, 1024}, Shape{100, 1001}}) {
      ExpectRowsIndependent(shape, SizesTo40(), Activation::kGeluTanh);
    }
  }
  at::set_num_threads(n_threads);
  ExpectRowsIndependent({768, 3072}, {1, 2, 3, 8, 31}, Activation::kGeluTanh);
}

TEST(LinearTest, GeluIsThatOfGpt2) {
  const c10::InferenceMode inference;
  // The identity, so that the input is what the activation sees.
  const Linear linear(at::eye(64, at::kFloat), Tensor(), Activation::kGeluTanh);
  const Tensor x = at::linspace(-12, 12, 64 * 100, at::kFloat).view({100, 64});
  const Tensor expected = at::gelu(x.to(at::kDouble), "tanh");
  EXPECT_LT((linear(x) - expected).abs().max().item().toDouble(), 1e-6);
}

TEST(LinearTest, TheProductIsRight) {
  const c10::InferenceMode inference;
  for (const int n_rows : {1, 2, 17}) {
    const Tensor weight = Random({50, 33}, 1), bias = Random({50}, 1), x = Random({n_rows, 33}, 1);
    const Tensor expected = x.to(at::kDouble).matmul(weight.to(at::kDouble).t());
    EXPECT_LT((Linear(weight, Tensor())(x) - expected).abs().max().item().toDouble(), 1e-4);
    EXPECT_LT((Linear(weight, bias)(x) - expected - bias).abs().max().item().toDouble(), 1e-4);
    // As checkpoints have it: a transposed view.
    EXPECT_LT((Linear(weight.t().contiguous().t(), bias)(x) - expected - bias).abs().max().item().toDouble(),
              1e-4);
  }
}

// To nearest: no weight or input is off by more than half a unit.
TEST(LinearTest, ProductsOfRoundedWeightsAreOffByTheRoundingAlone) {
  const c10::InferenceMode inference;
  for (const int64_t n_in : {1, 3, 33, 256}) {
    const Tensor weight = Random({50, n_in}, 1), bias = Random({50}, 1), x = Random({9, n_in}, 1);
    const Tensor exact = x.to(at::kDouble).matmul(weight.to(at::kDouble).t()) + bias;
    const Tensor magnitude = x.abs().matmul(weight.abs().t());
    const Tensor halves = Linear(weight, bias, Activation::kNone, WeightType::kF16)(x);
    EXPECT_TRUE(((halves - exact).abs() <= magnitude / 2048 + 1e-5).all().item().toBool()) << n_in;

    const Tensor unit_w = std::get<0>(weight.abs().max(1)) / 127, unit_x = std::get<0>(x.abs().max(1)) / 127;
    const Tensor bound =
        0.5 * (x.abs().sum(1).unsqueeze(1) * unit_w + unit_x.unsqueeze(1) * weight.abs().sum(1)) +
        0.25 * static_cast<double>(n_in) * unit_x.unsqueeze(1) * unit_w;
    const Tensor integers = Linear(weight, bias, Activation::kNone, WeightType::kInt8)(x);
    EXPECT_TRUE(((integers - exact).abs() <= 1.001 * bound + 1e-5).all().item().toBool()) << n_in;
  }
}

TEST(LinearTest, AHalfDoesNotOverflowAndRowsOfZerosGiveTheBias) {
  const c10::InferenceMode inference;
  const Tensor weight = at::full({2, 3}, 1e6f, at::kFloat), bias = Random({2}, 1);
  const Tensor halves =
      Linear(weight, Tensor(), Activation::kNone, WeightType::kF16)(at::ones({1, 3}, at::kFloat));
  EXPECT_TRUE(SameBits(halves, at::full({1, 2}, 3 * 65504.f, at::kFloat)));
  for (const WeightType type : kWeightTypes) {
    EXPECT_TRUE(SameBits(Linear(weight, bias, Activation::kNone, type)(at::zeros({1, 3}, at::kFloat)),
                         bias.unsqueeze(0)))
        << NameOf(type);
    EXPECT_TRUE(SameBits(
        Linear(at::zeros({2, 3}, at::kFloat), bias, Activation::kNone, type)(at::ones({1, 3}, at::kFloat)),
        bias.unsqueeze(0)))
        << NameOf(type);
  }
}

TEST(LinearTest, AStridedInputIsReadAsItsRows) {
  const c10::InferenceMode inference;
  const Linear linear(Random({50, 32}, 1), Random({50}, 1));
  const Tensor wide = Random({9, 96}, 1);
  for (const int n_rows : {1, 9}) {
    const Tensor part = wide.narrow(0, 0, n_rows).narrow(1, 32, 32);
    EXPECT_TRUE(SameBits(linear(part), linear(part.contiguous())));
  }
}

}  // namespace
}  // namespace mtm
