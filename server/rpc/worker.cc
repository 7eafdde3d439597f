// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/worker.h"

#include <utility>

namespace mtm {

Worker::Worker() : thread_([this] { Loop(); }) {}

Worker::~Worker() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

void Worker::Run(std::function<void()> job) {
  absl::MutexLock lock(&mutex_);
  jobs_.push_back(std::move(job));
}

bool Worker::NextJob(std::function<void()>& job) {
  absl::MutexLock lock(&mutex_);
  const auto ready = [](Worker* self)
                         ABSL_NO_THREAD_SAFETY_ANALYSIS { return self->stopping_ || !self->jobs_.empty(); };
  mutex_.Await(absl::Condition(+ready, this));
  if (jobs_.empty()) return false;
  job = std::move(jobs_.front());
  jobs_.pop_front();
  return true;
}

void Worker::Loop() {
  for (std::function<void()> job; NextJob(job); job = nullptr) job();
}

}  // namespace mtm
