// SPDX-License-Identifier: Apache-2.0
#include "server/model/device_graph.h"

#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/util/Exception.h>

#include "absl/status/status.h"
#include "server/model/cuda_graph.h"
#include "server/model/torch_status.h"

namespace mtm {
namespace {

void Capture(c10::Device on, at::GraphImplInterface& graph, const std::function<void()>& work) {
  const c10::impl::VirtualGuardImpl device(on.type());
  device.synchronizeStream(device.getStream(on));
  // The default stream cannot be recorded.
  const c10::StreamGuard stream(device.getNewStream(on));
  // Other threads go on: memories are copied to the device and from it.
  graph.capture_begin({0, 0}, at::GraphCaptureMode::ThreadLocal);
  try {
    work();
  } catch (...) {
    graph.capture_end();  // takes the stream out of it; may throw what the device says was wrong
    throw;
  }
  graph.capture_end();
}

}  // namespace

GraphRecorder::GraphRecorder(c10::Device device) : device_(device) { RegisterCudaGraphs(); }

std::unique_ptr<at::GraphImplInterface> GraphRecorder::Record(const std::function<void()>& work) {
  if (failed_ || !at::has_graph_impl(device_.type())) return nullptr;
  std::unique_ptr<at::GraphImplInterface> graph = at::create_graph_impl(device_.type());
  const absl::Status status = TorchToStatus([&] {
    Capture(device_, *graph, work);
    return absl::OkStatus();
  });
  if (status.ok()) return graph;
  failed_ = true;
  TORCH_WARN("steps on ", device_,
             " run operation by operation, since they cannot be recorded: ", std::string(status.message()));
  return nullptr;
}

}  // namespace mtm
