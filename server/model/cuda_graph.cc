// SPDX-License-Identifier: Apache-2.0
#include "server/model/cuda_graph.h"

#ifdef MTM_CUDA_GRAPHS

#include <ATen/core/GraphImplInterface.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/util/Exception.h>

#include <memory>
#include <mutex>
#include <string>

// The layout of CUDAGraph, whose code is LibTorch's, depends on it.
static_assert(CUDA_VERSION >= 12040, "CUDA headers older than those that LibTorch was built with");

namespace mtm {
namespace {

cudaStreamCaptureMode CudaMode(at::GraphCaptureMode mode) {
  switch (mode) {
    case at::GraphCaptureMode::ThreadLocal:
      return cudaStreamCaptureModeThreadLocal;
    case at::GraphCaptureMode::Relaxed:
      return cudaStreamCaptureModeRelaxed;
    default:
      return cudaStreamCaptureModeGlobal;
  }
}

class CudaGraph final : public at::GraphImplInterface {
 public:
  explicit CudaGraph(const at::GraphImplArgs& args) : graph_(args.keep_graph) {}

  void capture_begin(at::MempoolId_t pool, at::GraphCaptureMode mode) override {
    graph_.capture_begin(pool, CudaMode(mode));
  }
  void capture_end() override { graph_.capture_end(); }
  void instantiate() override { graph_.instantiate(); }
  void replay() override { graph_.replay(); }
  void reset() override { graph_.reset(); }
  at::MempoolId_t pool() const override { return graph_.pool(); }
  void enable_debug_mode() override { graph_.enable_debug_mode(); }
  void debug_dump(const std::string&) override { TORCH_CHECK_NOT_IMPLEMENTED(false, "not needed here"); }

 private:
  mutable at::cuda::CUDAGraph graph_;  // its pool() is not const
};

}  // namespace

void RegisterCudaGraphs() {
  static std::once_flag once;
  std::call_once(once, [] {
    if (at::has_graph_impl(c10::DeviceType::CUDA)) return;
    at::GraphImplRegistry()->Register(c10::DeviceTypeName(c10::DeviceType::CUDA, /*lower_case=*/false),
                                      [](const at::GraphImplArgs& args) {
                                        return std::unique_ptr<at::GraphImplInterface>(new CudaGraph(args));
                                      });
  });
}

}  // namespace mtm

#else

void mtm::RegisterCudaGraphs() {}

#endif
