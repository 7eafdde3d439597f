// SPDX-License-Identifier: Apache-2.0
#include "memory_store/scrubber.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "memory_store/stoppable_wait.h"

namespace mtm {
namespace {

using Clock = std::chrono::steady_clock;

// So that a small folder is not read all the time.
constexpr std::chrono::minutes kMinPass(1);
// What a clock can add.
constexpr double kMaxWaitSeconds = 1e9;

}  // namespace

Scrubber::Scrubber(int64_t bytes_per_second, List list, Check check)
    : bytes_per_second_(bytes_per_second),
      list_(std::move(list)),
      check_(std::move(check)),
      thread_([this](std::stop_token stop) { Run(std::move(stop)); }) {}

void Scrubber::Run(std::stop_token stop) const {
  while (!stop.stop_requested()) {
    const Clock::time_point pass_begin = Clock::now();
    for (const std::string& digest : list_()) {
      if (stop.stop_requested()) return;
      const Clock::time_point begin = Clock::now();
      const auto progress = [&](int64_t bytes_done) {
        const std::chrono::duration<double> due(std::min(
            static_cast<double>(bytes_done) / static_cast<double>(bytes_per_second_), kMaxWaitSeconds));
        return WaitUntil(stop, begin + std::chrono::duration_cast<Clock::duration>(due))
                   ? absl::OkStatus()
                   : absl::CancelledError("the store is being closed");
      };
      check_(digest, progress);
    }
    WaitUntil(stop, pass_begin + kMinPass);
  }
}

}  // namespace mtm
