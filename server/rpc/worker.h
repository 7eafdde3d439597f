// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_WORKER_H_
#define MTM_SERVER_RPC_WORKER_H_

#include <deque>
#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace mtm {

// A thread for what would hold up one of gRPC's few: tokenizing megabytes. Thread-safe.
class Worker {
 public:
  Worker();
  // Runs what is still queued.
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // In the order given.
  void Run(std::function<void()> job);

 private:
  void Loop();
  bool NextJob(std::function<void()>& job);

  absl::Mutex mutex_;
  std::deque<std::function<void()>> jobs_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace mtm

#endif  // MTM_SERVER_RPC_WORKER_H_
