// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_WORKER_H_
#define MTM_SERVER_RPC_WORKER_H_

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

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

  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;
  bool stopping_ = false;

  std::thread thread_;
};

}  // namespace mtm

#endif  // MTM_SERVER_RPC_WORKER_H_
