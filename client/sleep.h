// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_SLEEP_H_
#define MTM_CLIENT_SLEEP_H_

#include <condition_variable>
#include <mutex>
#include <stop_token>

#include "absl/time/time.h"

namespace mtm::client {

// Returns early once a stop is requested.
inline void SleepUnlessStopped(absl::Duration duration, const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any stopped;
  std::unique_lock lock(mutex);
  stopped.wait_for(lock, stop, absl::ToChronoNanoseconds(duration), [] { return false; });
}

}  // namespace mtm::client

#endif  // MTM_CLIENT_SLEEP_H_
