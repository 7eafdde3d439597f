// SPDX-License-Identifier: Apache-2.0
#include "server/model/device_graph.h"

#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/util/Exception.h>

#include <exception>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "server/model/cuda_graph.h"
#include "server/model/torch_status.h"

namespace mtm {

GraphRecorder::GraphRecorder(c10::Device device) : device_(device) { RegisterCudaGraphs(); }

void GraphRecorder::Capture(at::GraphImplInterface& graph, const std::function<void()>& work) {
  const c10::impl::VirtualGuardImpl device(device_.type());
  device.synchronizeStream(device.getStream(device_));
  // The default stream cannot be recorded.
  if (!stream_) stream_ = device.getNewStream(device_);
  const c10::StreamGuard stream(*stream_);
  // Other threads go on: memories are copied to the device and from it.
  const at::MempoolId_t pool = graph_ != nullptr ? graph_->pool() : at::MempoolId_t{0, 0};
  graph.capture_begin(pool, at::GraphCaptureMode::ThreadLocal);
  try {
    work();
  } catch (...) {
    try {
      graph.capture_end();  // takes the stream out of it
    } catch (const std::exception&) {
      // What went wrong before says more.
    }
    throw;
  }
  graph.capture_end();
}

at::GraphImplInterface* GraphRecorder::Record(const std::function<void()>& work) {
  if (failed_ || !at::has_graph_impl(device_.type())) return nullptr;
  if (calls_before_retry_ > 0) {
    --calls_before_retry_;
    return nullptr;
  }
  std::unique_ptr<at::GraphImplInterface> graph = at::create_graph_impl(device_.type());
  const absl::Status status = TorchToStatus([&] {
    Capture(*graph, work);
    return absl::OkStatus();
  });
  graph_ = std::move(graph);
  if (status.ok()) return graph_.get();
  graph_ = nullptr;
  if (absl::IsResourceExhausted(status)) {
    calls_before_retry_ = kCallsBeforeRetry;
    // What is free and cached is given back by no allocation of a recording.
    if (!device_.is_cpu()) c10::getDeviceAllocator(device_.type())->emptyCache();
  } else {
    failed_ = true;
    TORCH_WARN("steps on ", device_,
               " run operation by operation, since they cannot be recorded: ", std::string(status.message()));
  }
  return nullptr;
}

}  // namespace mtm
