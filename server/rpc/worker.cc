// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/worker.h"

#include <utility>

namespace mtm {

Worker::Worker(int n_threads) {
  for (int i = 0; i < n_threads; ++i) threads_.emplace_back([this] { Loop(); });
}

Worker::~Worker() { Shutdown(); }

void Worker::Shutdown() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

void Worker::Run(std::function<void()> job) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    jobs_.push_back(std::move(job));
  }
  changed_.notify_one();
}

bool Worker::NextJob(std::function<void()>& job) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
  if (jobs_.empty()) return false;
  job = std::move(jobs_.front());
  jobs_.pop_front();
  return true;
}

void Worker::Loop() {
  for (std::function<void()> job; NextJob(job); job = nullptr) job();
}

}  // namespace mtm
