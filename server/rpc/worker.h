// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_WORKER_H_
#define MTM_SERVER_RPC_WORKER_H_

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace mtm {

// A few threads for what would hold up gRPC's: megabytes to tokenize, files to read and to sync. A job waits
// for the disk, never for a client. Thread-safe.
class Worker {
 public:
  explicit Worker(int n_threads);
  ~Worker();  // as Shutdown
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Begun in the order given; as many at once as there are threads.
  void Run(std::function<void()> job);

  // Returns when all that was queued has been run. What comes later is dropped. Idempotent.
  void Shutdown();

 private:
  void Loop();
  bool NextJob(std::function<void()>& job);

  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;
  bool stopping_ = false;

  std::vector<std::thread> threads_;
};

}  // namespace mtm

#endif  // MTM_SERVER_RPC_WORKER_H_
