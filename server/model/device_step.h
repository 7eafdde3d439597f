// SPDX-License-Identifier: Apache-2.0
// Private to server/model: includes LibTorch.
#ifndef MTM_SERVER_MODEL_DEVICE_STEP_H_
#define MTM_SERVER_MODEL_DEVICE_STEP_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "server/model/attention.h"
#include "server/model/device_graph.h"
#include "server/model/model.h"

namespace mtm {

// One row of each of some sequences, by LibTorch's operations on a device. Which tokens and positions these
// are is on the device, and attention is over positions [0, context), of which the later ones are masked: so
// all steps of the same sequences up to that context are the same operations on the same tensors, which a GPU
// records and replays.
class DeviceStep {
 public:
  // The sequences' caches are longer than the rows' positions.
  DeviceStep(const Model::Weights& weights, std::span<const Rows> batch);

  // Is it of these sequences, none of which became too long or got other tensors?
  bool Fits(std::span<const Rows> batch) const;

  // Logits [n, vocab_size] on the device, until the next step.
  const at::Tensor& Run(std::span<const Rows> batch, GraphRecorder& recorder);

 private:
  struct Part {
    Sequence::State* sequence;
    uint64_t caches_id;
    int64_t context;  // positions attended to, masked ones too
  };

  void Compute();
  at::Tensor Attend(size_t layer, const at::Tensor& qkv, const at::Tensor& mask, const at::Tensor& lengths);

  const Model::Weights& weights_;
  std::vector<Part> parts_;
  at::Tensor inputs_;  // [2, n], int64: tokens; positions
  at::Tensor logits_;
  int n_runs_ = 0;
  at::GraphImplInterface* graph_ = nullptr;  // the recorder's, which records nothing else meanwhile
};

// The steps of a model. Keeps the last one for the next, which mostly is of the same sequences. Used by one
// thread at a time, the engine's.
class DeviceSteps {
 public:
  explicit DeviceSteps(c10::Device device) : recorder_(device) {}

  // Can it run them: one row each, behind prompts, in cached mode, all of whose logits are wanted?
  static bool Takes(std::span<const Rows> batch);
  // The rows' logits [n, vocab_size], on the device.
  const at::Tensor& Run(const Model::Weights& weights, std::span<const Rows> batch);
  // Gives back the memory of what is recorded, which nothing else can use.
  void Release();

 private:
  GraphRecorder recorder_;
  std::optional<DeviceStep> last_;
};

}  // namespace mtm

#endif  // MTM_SERVER_MODEL_DEVICE_STEP_H_
