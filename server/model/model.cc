// SPDX-License-Identifier: Apache-2.0
#include "server/model/model.h"

#include <ATen/Context.h>
#include <ATen/Functions.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/InferenceMode.h>
#include <malloc.h>

#include <cstdlib>
#include <cstring>
#include <span>
#include <thread>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/model/checkpoint.h"
#include "server/model/fingerprint.h"
#include "server/model/torch_status.h"
#include "server/model/weights.h"

namespace mtm {
namespace {

using at::Tensor;

at::ScalarType TorchType(absl::string_view dtype) {
  return dtype == "F16" ? at::kHalf : dtype == "BF16" ? at::kBFloat16 : at::kFloat;
}

// A view of the mapped bytes, which keeps their file open.
Tensor View(const TensorView& view, const Checkpoint& checkpoint) {
  auto* data = const_cast<std::byte*>(view.bytes.data());
  const at::ScalarType type = TorchType(view.dtype);
  Tensor tensor = at::from_blob(
      data, view.shape, [files = checkpoint.files](void*) {}, type);
  const bool aligned = reinterpret_cast<uintptr_t>(data) % c10::elementSize(type) == 0;
  if (aligned) return tensor;
  // The format does not promise alignment, though every writer pads its header.
  Tensor copy = at::empty(view.shape, type);
  std::memcpy(copy.mutable_data_ptr(), data, view.bytes.size());
  return copy;
}

absl::Status CheckDevice(const std::string& device, WeightType weights) {
  return TorchToStatus([&] {
    int index = -1;
    const bool is_cuda =
        absl::StartsWith(device, "cuda:") && absl::SimpleAtoi(device.substr(5), &index) && index >= 0;
    if (device != "cpu" && device != "torch" && !is_cuda) {
      return absl::InvalidArgumentError(
          absl::StrCat("device \"", device, "\": expected cpu, torch or cuda:N"));
    }
    const bool has_weights =
        weights == WeightType::kF32 || (weights == WeightType::kBF16) == (device != "cpu");
    if (!has_weights) {
      return absl::FailedPreconditionError(
          absl::StrCat("device \"", device, "\": its weights may be ",
                       device == "cpu" ? "fp32, fp16 or int8" : "fp32 or bf16", ", not ", NameOf(weights)));
    }
    if (!is_cuda) return absl::OkStatus();
    const int count = at::globalContext().hasCUDA() ? at::detail::getCUDAHooks().deviceCount() : 0;
    if (index < count) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat(
        "device \"", device, "\": this machine and this LibTorch offer ", count, " CUDA devices"));
  });
}

// On a thread of its own, whose OpenMP team ends with it. Libgomp's threads wait awake for the next parallel
// region only while there are no more of them than CPUs: with a team left behind by the loading thread, those
// of a step went to sleep 110 times, and it took 1.15 (fp32) to 1.5 times (int8) as long on 2 cores.
template <typename Function>
absl::Status OnOwnThread(const Function& function) {
  return TorchToStatus([&] {
    absl::Status status;
    std::thread([&] { status = TorchToStatus(function); }).join();
    return status;
  });
}

// A step reads every weight once: with 4 KiB pages a fifth of its time goes to finding them. LibTorch looks
// at this when it allocates for the first time.
void UseHugePages() { setenv("THP_MEM_ALLOC_ENABLE", "1", /*overwrite=*/0); }

void LetGo(std::span<MemoryUse> uses) {
  for (MemoryUse& use : uses) use.on_device.clear();
}

}  // namespace

Model::Model(std::unique_ptr<const Weights> weights) : weights_(std::move(weights)) {}
Model::~Model() = default;

absl::StatusOr<std::unique_ptr<Model>> Model::Load(const std::filesystem::path& folder,
                                                   const std::string& device, WeightType weights) {
  UseHugePages();
  if (absl::Status status = CheckDevice(device, weights); !status.ok()) return status;
  auto checkpoint = Checkpoint::Open(folder);
  if (!checkpoint.ok()) return checkpoint.status();
  std::unique_ptr<Model> model;
  const auto load = [&] {
    const c10::InferenceMode inference;
    const c10::Device target = DeviceOf(device);
    std::span<const std::byte> packed;  // the tensor before; packed copies are what the CPU's kernels use
    model.reset(new Model(BuildWeights(checkpoint->config, checkpoint->fingerprint, device, weights,
                                       [&](const std::string& name) {
                                         ReleasePages(packed);
                                         const TensorView& view = checkpoint->tensors.at(name);
                                         packed = view.bytes;
                                         return View(view, *checkpoint).to(target);
                                       })));
    ReleasePages(packed);
    return absl::OkStatus();
  };
  absl::Status status = OnOwnThread(load);
  // The head was packed after others; the embeddings' rows come back page by page.
  ReleasePages(checkpoint->tensors.at("wte.weight").bytes);
  malloc_trim(0);  // what packing needed in passing: 140 MB of a 124M model
  if (!status.ok()) return status;
  return model;
}

absl::StatusOr<std::unique_ptr<Model>> Model::Random(const ModelConfig& config, uint64_t seed,
                                                     const std::string& device, WeightType weights) {
  UseHugePages();
  if (absl::Status status = CheckDevice(device, weights); !status.ok()) return status;
  std::unique_ptr<Model> model;
  const auto make = [&] {
    const c10::InferenceMode inference;
    at::Generator generator = at::globalContext().defaultGenerator(at::kCPU).clone();
    generator.set_current_seed(seed);
    const auto shapes = ExpectedTensors(config);
    const auto source = [&](const std::string& name) {
      const bool is_norm_weight = name.find("ln_") != std::string::npos && name.ends_with(".weight");
      Tensor tensor =
          at::empty(shapes.at(name), at::kFloat).normal_(is_norm_weight ? 1.0 : 0.0, 0.02, generator);
      return tensor.to(DeviceOf(device));
    };
    model.reset(new Model(BuildWeights(config, SeedFingerprint(config, seed), device, weights, source)));
    return absl::OkStatus();
  };
  absl::Status status = OnOwnThread(make);
  if (!status.ok()) return status;
  return model;
}

absl::Status Model::CopyToDevice(std::span<MemoryUse> uses) const {
  if (weights_->stored_layers == nullptr) return absl::OkStatus();
  const std::lock_guard one_at_a_time(copying_);
  const absl::Status status = TorchToStatus([&] {
    const c10::InferenceMode inference;
    for (MemoryUse& use : uses) {
      for (const int layer : use.layers)
        use.on_device.push_back(weights_->stored_layers->Get(*use.memory, layer));
    }
    return absl::OkStatus();
  });
  if (!status.ok()) LetGo(uses);
  return status;
}

bool Model::FindOnDevice(std::span<MemoryUse> uses) const {
  if (weights_->stored_layers == nullptr) return true;
  for (MemoryUse& use : uses) {
    for (const int layer : use.layers) {
      use.on_device.push_back(weights_->stored_layers->Find(*use.memory, layer));
      if (use.on_device.back() != nullptr) continue;
      LetGo(uses);
      return false;
    }
  }
  return true;
}

const ModelConfig& Model::config() const { return weights_->config; }
const std::string& Model::fingerprint() const { return weights_->fingerprint; }
const std::string& Model::device() const { return weights_->device_name; }
WeightType Model::weight_type() const { return weights_->type; }
int64_t Model::parameter_count() const { return weights_->parameter_count; }

}  // namespace mtm
