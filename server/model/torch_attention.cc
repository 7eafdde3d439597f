// SPDX-License-Identifier: Apache-2.0
#include <ATen/Functions.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <optional>

#include "server/model/attention.h"

namespace mtm {

using at::Tensor;

namespace {

// Added to the scores of rows [first, first + n_rows) over positions [0, first + n_rows): -inf where a row
// would see a later position.
Tensor CausalMask(int first, int n_rows, c10::Device device) {
  return at::full({n_rows, first + n_rows}, -std::numeric_limits<float>::infinity(),
                  at::device(device).dtype(at::kFloat))
      .triu_(first + 1);
}

}  // namespace

Tensor LastRowAttentionByTorch(const Tensor& query, const Tensor& keys, const Tensor& mask) {
  const Tensor scores = at::bmm(query, keys.transpose(1, 2)).squeeze(1);
  scores.div_(std::sqrt(static_cast<double>(query.size(2))));
  if (mask.defined()) scores.add_(mask);
  return at::softmax(scores, -1);
}

Tensor AttendByTorch(const Tensor& query, const Tensor& key, const Tensor& value, int first, int end) {
  const bool is_square = first == 0, is_last_row = end - first == 1;
  const Tensor k = key.narrow(1, 0, end).unsqueeze(0), v = value.narrow(1, 0, end).unsqueeze(0);
  std::optional<Tensor> mask;
  if (!is_square && !is_last_row) mask = CausalMask(first, end - first, key.device());
  const Tensor out = at::scaled_dot_product_attention(query.unsqueeze(0), k, v, mask, /*dropout_p=*/0.0,
                                                      /*is_causal=*/is_square && !is_last_row);
  return out.squeeze(0).transpose(0, 1).reshape({end - first, query.size(0) * query.size(2)});
}

void UpdateMemoriesByTorch(std::vector<MemoryRows>& all) {
  const auto start = std::chrono::steady_clock::now();
  std::vector<DeviceMemoryLayer::NewRows> rows;
  int64_t n_rows = 0;
  for (const MemoryRows& one : all) {
    const int64_t count = one.query.size(1);
    const Tensor positions = at::arange(one.first, one.first + count, one.query.options().dtype(at::kLong));
    rows.push_back({&*one.layer->device_memory, positions, one.query, one.key, one.value});
    n_rows += count;
  }
  DeviceMemoryLayer::LookUp(rows);
  for (const MemoryRows& one : all) {
    const Tensor length =
        at::scalar_tensor(one.attention.size(1), one.attention.options().dtype(at::kDouble));
    one.layer->device_memory->Select(one.attention, length, one.layer->value);
  }
  const auto time = std::chrono::steady_clock::now() - start;
  for (MemoryRows& one : all) {
    one.sequence->memory_time += time * one.query.size(1) / n_rows;  // its share
    if (one.goes_back) one.first_changed = one.layer->device_memory->FirstChanged();
  }
}

}  // namespace mtm
