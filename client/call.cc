// SPDX-License-Identifier: Apache-2.0
#include "client/call.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/status.h"

namespace mtm::client {
namespace {

constexpr int kBackoffFactor = 3;

// Up to a fifth more or less: clients that lost their server together do not come back together.
absl::Duration Jittered(absl::Duration wait) {
  absl::BitGen random;
  return wait * absl::Uniform(random, 0.8, 1.2);
}

void Sleep(absl::Duration duration, const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any stopped;
  std::unique_lock lock(mutex);
  stopped.wait_for(lock, stop, absl::ToChronoNanoseconds(duration), [] { return false; });
}

}  // namespace

Call::Call(const std::string& address, const CallOptions& options)
    : address_(address), on_stop_(options.stop, [this] { context_.TryCancel(); }) {
  if (options.timeout < absl::InfiniteDuration()) {
    context_.set_deadline(absl::ToChronoTime(absl::Now() + options.timeout));
  }
}

absl::Status Call::Finish(const grpc::Status& status) const {
  if (status.error_code() != grpc::StatusCode::UNAVAILABLE) return FromGrpc(status);
  return FromGrpc(grpc::Status(status.error_code(), absl::StrCat(address_, ": ", status.error_message()),
                               status.error_details()));
}

absl::Status CallWithRetries(const ClientOptions& options, const CallOptions& call_options,
                             const std::function<absl::Status(Call&)>& attempt) {
  const absl::Time deadline = absl::Now() + call_options.timeout;
  absl::Duration wait = options.first_retry_delay;
  for (int attempts = 1;; ++attempts, wait *= kBackoffFactor) {
    CallOptions rest = call_options;
    rest.timeout = deadline - absl::Now();
    Call call(options.address, rest);
    absl::Status status = attempt(call);
    if (!absl::IsUnavailable(status) || attempts >= options.max_attempts) return status;
    const absl::Duration pause = Jittered(wait);
    if (absl::Now() + pause >= deadline) return status;
    if (options.on_retry) options.on_retry(status, pause);
    Sleep(pause, call_options.stop);
    if (call_options.stop.stop_requested()) return absl::CancelledError("stopped");
  }
}

}  // namespace mtm::client
