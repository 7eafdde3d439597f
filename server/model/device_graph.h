// SPDX-License-Identifier: Apache-2.0
// Private to server/model: includes LibTorch.
#ifndef MTM_SERVER_MODEL_DEVICE_GRAPH_H_
#define MTM_SERVER_MODEL_DEVICE_GRAPH_H_

#include <ATen/core/GraphImplInterface.h>
#include <c10/core/Device.h>

#include <functional>
#include <memory>

namespace mtm {

// Records graphs (CUDA's) on a device. Used by one thread.
class GraphRecorder {
 public:
  explicit GraphRecorder(c10::Device device);

  // Calls `work`, of which the device records what is enqueued without doing it; every replay() of the graph
  // on this device's current stream does it, with the tensors that `work` used and made. nullptr, and `work`
  // may not have been called: the device has no graphs, or a recording failed, which is warned of once and
  // not tried again.
  std::unique_ptr<at::GraphImplInterface> Record(const std::function<void()>& work);

 private:
  const c10::Device device_;
  bool failed_ = false;
};

}  // namespace mtm

#endif  // MTM_SERVER_MODEL_DEVICE_GRAPH_H_
