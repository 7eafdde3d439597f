// SPDX-License-Identifier: Apache-2.0
#include "server/model/weights.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>

#include "absl/strings/str_cat.h"

namespace mtm {

using at::Tensor;

namespace {

// That are worth a thread.
constexpr int64_t kNormRowsPerThread = 32;

class Builder {
 public:
  Builder(const ModelConfig& config, bool own_kernels, WeightType type,
          const std::function<Tensor(const std::string&)>& source)
      : config_(config), own_kernels_(own_kernels), type_(type), source_(source) {}

  // float32
  Tensor Get(const std::string& name) { return Stored(name).to(at::kFloat); }

  Tensor Stored(const std::string& name) {
    Tensor tensor = source_(name);
    count_ += tensor.numel();
    return tensor;
  }

  LayerNorm Norm(const std::string& name) {
    return {Get(absl::StrCat(name, ".weight")), Get(absl::StrCat(name, ".bias")), config_.layer_norm_epsilon,
            own_kernels_};
  }

  // GPT-2's Conv1D keeps [n_in, n_out].
  Linear Conv1d(const std::string& name, Activation activation = Activation::kNone) {
    return Linear(Stored(absl::StrCat(name, ".weight")).t(), Stored(absl::StrCat(name, ".bias")), activation,
                  type_, own_kernels_);
  }

  Block Layer(int layer) {
    const std::string block = absl::StrCat("h.", layer, ".");
    return {Norm(block + "ln_1"),
            Norm(block + "ln_2"),
            Conv1d(block + "attn.c_attn"),
            Conv1d(block + "attn.c_proj"),
            Conv1d(block + "mlp.c_fc", Activation::kGeluTanh),
            Conv1d(block + "mlp.c_proj")};
  }

  int64_t count() const { return count_; }

 private:
  const ModelConfig& config_;
  const bool own_kernels_;
  const WeightType type_;
  const std::function<Tensor(const std::string&)>& source_;
  int64_t count_ = 0;
};

// 8 bits of a logit would be too few to tell tokens apart.
WeightType HeadType(WeightType type) { return type == WeightType::kBF16 ? WeightType::kF32 : type; }

}  // namespace

Tensor LayerNorm::operator()(const Tensor& x) const {
  if (!own_kernels) return at::layer_norm(x, {x.size(1)}, weight, bias, epsilon);
  const Tensor from = x.contiguous(), to = at::empty_like(from);
  const int64_t width = x.size(1);
  const float *const rows = from.const_data_ptr<float>(), *const w = weight.const_data_ptr<float>(),
                     *const b = bias.const_data_ptr<float>();
  float* const out = to.mutable_data_ptr<float>();
  at::parallel_for(0, x.size(0), kNormRowsPerThread, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      NormalizeRow({rows + row * width, static_cast<size_t>(width)}, w, b, static_cast<float>(epsilon),
                   out + row * width);
    }
  });
  return to;
}

c10::Device DeviceOf(const std::string& name) { return c10::Device(name == "torch" ? "cpu" : name); }

Tensor Model::Weights::Embed(const Tensor& tokens, const Tensor& positions) const {
  return wte.index_select(0, tokens).to(at::kFloat).add_(wpe.index_select(0, positions).to(at::kFloat));
}

std::unique_ptr<const Model::Weights> BuildWeights(const ModelConfig& config, std::string fingerprint,
                                                   std::string device_name, WeightType type,
                                                   const std::function<Tensor(const std::string&)>& source) {
  const c10::Device device = DeviceOf(device_name);
  const bool own_kernels = device_name == "cpu";
  Builder builder(config, own_kernels, type, source);
  const Tensor wte = builder.Stored("wte.weight"), wpe = builder.Stored("wpe.weight");
  std::vector<Block> blocks;
  for (int layer = 0; layer < config.n_layer; ++layer) blocks.push_back(builder.Layer(layer));
  LayerNorm ln_f = builder.Norm("ln_f");
  return std::unique_ptr<const Model::Weights>(
      new Model::Weights{config, std::move(fingerprint), std::move(device_name), device, own_kernels, type,
                         builder.count(), wte, wpe, std::move(blocks), std::move(ln_f),
                         Linear(wte, Tensor(), Activation::kNone, HeadType(type), own_kernels),
                         own_kernels ? nullptr : std::make_unique<StoredLayers>(device),
                         own_kernels ? nullptr : std::make_unique<DeviceSteps>(device)});
}

}  // namespace mtm
