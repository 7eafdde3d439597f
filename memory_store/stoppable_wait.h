// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_MEMORY_STORE_STOPPABLE_WAIT_H_
#define MTM_MEMORY_STORE_STOPPABLE_WAIT_H_

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stop_token>

namespace mtm {

// Sleeps until then; false: a stop was requested, and it came back at once.
inline bool WaitUntil(const std::stop_token& stop, std::chrono::steady_clock::time_point deadline) {
  std::mutex mutex;
  std::condition_variable_any stopped;
  std::unique_lock lock(mutex);
  stopped.wait_until(lock, stop, deadline, [] { return false; });
  return !stop.stop_requested();
}

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_STOPPABLE_WAIT_H_
