// SPDX-License-Identifier: Apache-2.0
// Private to server/model: includes LibTorch.
#ifndef MTM_SERVER_MODEL_DEVICE_GRAPH_H_
#define MTM_SERVER_MODEL_DEVICE_GRAPH_H_

#include <ATen/core/GraphImplInterface.h>
#include <c10/core/Device.h>
#include <c10/core/Stream.h>

#include <functional>
#include <memory>
#include <optional>

namespace mtm {

// Records graphs (CUDA's) on a device, one after another. Used by one thread.
class GraphRecorder {
 public:
  static constexpr int kCallsBeforeRetry = 100;

  explicit GraphRecorder(c10::Device device);

  // Calls `work`, of which the device records what is enqueued without doing it; every replay() of the graph
  // does it, on the device's current stream and with the tensors that `work` used and made. The graph is
  // there until the next recording, for which it leaves its memory. nullptr, and `work` may not have been
  // called: the device has no graphs; no memory is left for one, which is tried again after
  // kCallsBeforeRetry; or a recording failed, which is warned of once and not tried again.
  at::GraphImplInterface* Record(const std::function<void()>& work);
  // Gives the last graph's memory back.
  void Release() { graph_ = nullptr; }

 private:
  void Capture(at::GraphImplInterface& graph, const std::function<void()>& work);

  const c10::Device device_;
  std::optional<c10::Stream> stream_;  // to record on: memory that one recording leaves is its stream's
  std::unique_ptr<at::GraphImplInterface> graph_;
  bool failed_ = false;
  int calls_before_retry_ = 0;
};

}  // namespace mtm

#endif  // MTM_SERVER_MODEL_DEVICE_GRAPH_H_
