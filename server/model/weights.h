// SPDX-License-Identifier: Apache-2.0
// Private to server/model: includes LibTorch.
#ifndef MTM_SERVER_MODEL_WEIGHTS_H_
#define MTM_SERVER_MODEL_WEIGHTS_H_

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/model/device_memory.h"
#include "server/model/device_step.h"
#include "server/model/linear.h"
#include "server/model/model.h"

namespace mtm {

// On the CPU a row's result has the same bits whatever the other rows are.
struct LayerNorm {
  at::Tensor weight, bias;  // [n_embd], float32
  double epsilon;
  bool own_kernels;

  at::Tensor operator()(const at::Tensor& x) const;  // [n, n_embd] -> [n, n_embd]
};

struct Block {
  LayerNorm ln_1, ln_2;
  Linear c_attn;      // n_embd -> 3 n_embd: q, k, v
  Linear c_proj;      // n_embd -> n_embd
  Linear mlp_c_fc;    // n_embd -> n_inner, and the activation
  Linear mlp_c_proj;  // n_inner -> n_embd

  // From the attention's output to the block's, all [n, n_embd]; x: the input, then the output.
  void Finish(const at::Tensor& attention, at::Tensor& x) const {
    c_proj.AddTo(attention, x);
    mlp_c_proj.AddTo(mlp_c_fc(ln_2(x)), x);
  }
};

// The device of that name: "cpu"; "torch", which is the CPU without kernels of our own; or "cuda:N".
c10::Device DeviceOf(const std::string& name);

// GPT-2 on a device.
struct Model::Weights {
  ModelConfig config;
  std::string fingerprint;
  std::string device_name;
  c10::Device device;
  bool own_kernels;  // the CPU's; else LibTorch's operations on the device
  WeightType type;   // of the blocks' and the head's matrices
  int64_t parameter_count = 0;

  at::Tensor wte;  // [vocab_size, n_embd], as stored: gathered rows are converted
  at::Tensor wpe;  // [n_ctx, n_embd], as stored
  std::vector<Block> blocks;
  LayerNorm ln_f;
  Linear head;  // n_embd -> vocab_size; wte's rows

  // Without own kernels: what memories store on the device, and its decode steps.
  std::unique_ptr<StoredLayers> stored_layers;
  std::unique_ptr<DeviceSteps> device_steps;

  // Token plus position embeddings [n, n_embd], float32.
  at::Tensor Embed(const at::Tensor& tokens, const at::Tensor& positions) const;
};

// Makes weights from a source of named tensors (Checkpoint's names), each of the expected shape and on
// `device`.
std::unique_ptr<const Model::Weights> BuildWeights(
    const ModelConfig& config, std::string fingerprint, std::string device_name, WeightType type,
    const std::function<at::Tensor(const std::string&)>& source);

}  // namespace mtm

#endif  // MTM_SERVER_MODEL_WEIGHTS_H_
