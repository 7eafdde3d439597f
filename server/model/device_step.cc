// SPDX-License-Identifier: Apache-2.0
#include "server/model/device_step.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <c10/core/DeviceGuard.h>

#include <algorithm>
#include <limits>

#include "server/model/sequence_state.h"
#include "server/model/weights.h"

namespace mtm {

using at::Tensor;

namespace {

// Contexts are rounded up to this: a step is recorded anew where the longest one has grown by as many.
constexpr int64_t kContextStep = 256;
// That a step is run operation by operation: a batch that soon becomes another is not worth a recording, and
// the first run sets up what must not be set up in one.
constexpr int kRunsBeforeRecording = 3;
// Of a row of the mask, in numbers: attention kernels read 16 bytes at once, and LibTorch copies a mask whose
// rows are not so far apart.
constexpr int64_t kMaskAlignment = 8;

int64_t RoundUp(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

int64_t Longest(std::span<const Rows> batch) {
  return std::ranges::max(batch, {}, [](const Rows& rows) { return rows.end(); }).end();
}

}  // namespace

DeviceStep::DeviceStep(const Model::Weights& weights, std::span<const Rows> batch) : weights_(weights) {
  const int64_t context = RoundUp(Longest(batch), kContextStep);
  for (const Rows& rows : batch) {
    Sequence::State& s = *rows.sequence;
    parts_.push_back({&s, s.caches_id, std::min<int64_t>(context, s.options.capacity)});
  }
  inputs_ = at::empty({2, static_cast<int64_t>(batch.size())}, at::device(weights.device).dtype(at::kLong));
}

bool DeviceStep::Fits(std::span<const Rows> batch) const {
  return std::ranges::equal(batch, parts_, [](const Rows& rows, const Part& part) {
    return rows.sequence == part.sequence && rows.sequence->caches_id == part.caches_id &&
           rows.end() <= part.context;
  });
}

const Tensor& DeviceStep::Run(std::span<const Rows> batch, GraphRecorder& recorder) {
  const Tensor inputs = at::empty(inputs_.sizes(), at::kLong);
  int64_t* const numbers = inputs.mutable_data_ptr<int64_t>();
  for (size_t i = 0; i < batch.size(); ++i) {
    numbers[i] = batch[i].sequence->tokens.back();
    numbers[batch.size() + i] = batch[i].first;
  }
  inputs_.copy_(inputs);
  const c10::OptionalDeviceGuard guard(weights_.device);
  if (graph_ == nullptr && n_runs_++ >= kRunsBeforeRecording) {
    graph_ = recorder.Record([this] { Compute(); });
  }
  graph_ != nullptr ? graph_->replay() : Compute();
  return logits_;
}

// Nothing in here may differ from one step to the next but what is on the device.
void DeviceStep::Compute() {
  const Tensor tokens = inputs_.select(0, 0), positions = inputs_.select(0, 1);
  const int64_t context = RoundUp(std::ranges::max(parts_, {}, &Part::context).context, kMaskAlignment);
  const Tensor is_later = at::arange(context, positions.options()) > positions.unsqueeze(1);
  const Tensor mask = at::zeros({tokens.size(0), context}, positions.options().dtype(at::kFloat))
                          .masked_fill_(is_later, -std::numeric_limits<float>::infinity());
  const Tensor lengths = positions.to(at::kDouble).add_(1);
  Tensor x = weights_.Embed(tokens, positions);
  for (size_t layer = 0; layer < weights_.blocks.size(); ++layer) {
    const Block& block = weights_.blocks[layer];
    block.Finish(Attend(layer, block.c_attn(block.ln_1(x)), mask, lengths), x);
  }
  logits_ = weights_.head(weights_.ln_f(x));
}

Tensor DeviceStep::Attend(size_t index, const Tensor& qkv, const Tensor& mask, const Tensor& lengths) {
  const int n_head = weights_.config.n_head, d = weights_.config.n_embd;
  // Of a sequence: query, key or value, [n_head, 1, head_dim].
  const auto part = [&](size_t i, int64_t which) {
    return SplitHeads(qkv.narrow(0, static_cast<int64_t>(i), 1).narrow(1, which * d, d), n_head);
  };
  std::vector<DeviceMemoryLayer::NewRows> looked_up;
  for (size_t i = 0; i < parts_.size(); ++i) {
    LayerState& layer = parts_[i].sequence->layers[index];
    const Tensor position = inputs_.select(0, 1).narrow(0, static_cast<int64_t>(i), 1);
    layer.key.index_copy_(1, position, part(i, 1));
    layer.value.index_copy_(1, position, part(i, 2));
    if (layer.device_memory)
      looked_up.push_back({&*layer.device_memory, position, part(i, 0), part(i, 1), part(i, 2)});
  }
  if (!looked_up.empty()) DeviceMemoryLayer::LookUp(looked_up);
  std::vector<Tensor> outputs;
  for (size_t i = 0; i < parts_.size(); ++i) {
    LayerState& layer = parts_[i].sequence->layers[index];
    const int64_t context = parts_[i].context;
    const Tensor own_mask = mask.narrow(0, static_cast<int64_t>(i), 1).narrow(1, 0, context);
    const Tensor query = part(i, 0), key = layer.key.narrow(1, 0, context);
    Tensor out;  // [n_head, 1, head_dim]
    if (layer.device_memory) {
      const Tensor attention = LastRowAttentionByTorch(query, key, own_mask.squeeze(0));
      layer.device_memory->Select(attention, lengths.select(0, static_cast<int64_t>(i)), layer.value);
      out = at::bmm(attention.unsqueeze(1), layer.device_memory->mixed_values().narrow(1, 0, context));
    } else {
      out = at::scaled_dot_product_attention(query.unsqueeze(0), key.unsqueeze(0),
                                             layer.value.narrow(1, 0, context).unsqueeze(0), own_mask)
                .squeeze(0);
    }
    outputs.push_back(out.transpose(0, 1).reshape({1, d}));
  }
  return outputs.size() == 1 ? outputs[0] : at::cat(outputs, 0);
}

bool DeviceSteps::Takes(std::span<const Rows> batch) {
  return std::ranges::all_of(batch, [](const Rows& rows) {
    const Sequence::State& s = *rows.sequence;
    const bool is_behind_prompt = s.n_computed > 0 && s.prefix == nullptr;
    return rows.count() == 1 && is_behind_prompt && s.options.mode == Mode::kCached && s.options.logits;
  });
}

const Tensor& DeviceSteps::Run(const Model::Weights& weights, std::span<const Rows> batch) {
  if (!last_ || !last_->Fits(batch)) {
    last_.emplace(weights, batch);
  }
  return last_->Run(batch, recorder_);
}

void DeviceSteps::Release() {
  last_.reset();
  recorder_.Release();
}

}  // namespace mtm
