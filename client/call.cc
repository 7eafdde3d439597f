// SPDX-License-Identifier: Apache-2.0
#include "client/call.h"

#include <algorithm>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/retries.h"
#include "client/sleep.h"
#include "client/status.h"

namespace mtm::client {
namespace {

constexpr size_t kMaxHeaderBytes = 1000;  // peers refuse 8 KiB of metadata

// Up to a fifth more or less: clients that lost their server together do not come back together.
absl::Duration Jittered(absl::Duration wait) {
  absl::BitGen random;
  return wait * absl::Uniform(random, 0.8, 1.2);
}

}  // namespace

Call::Call(const std::string& address, const CallOptions& options)
    : address_(address), on_stop_(options.stop, [this] { context_.TryCancel(); }) {
  if (options.timeout < absl::InfiniteDuration()) {
    context_.set_deadline(absl::ToChronoTime(absl::Now() + options.timeout));
  }
}

absl::Status Call::Finish(const grpc::Status& status) const {
  const bool names_nothing = status.error_code() == grpc::StatusCode::UNAVAILABLE ||
                             status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
  if (!names_nothing) return FromGrpc(status);
  return FromGrpc(grpc::Status(status.error_code(), absl::StrCat(address_, ": ", status.error_message()),
                               status.error_details()));
}

void AddMemoryHeader(grpc::ClientContext& context, const std::string& reference) {
  const std::string name = reference.substr(0, reference.find('@'));
  // gRPC aborts over others; no memory has such a name.
  const bool can_be_sent = std::ranges::all_of(name, [](char c) { return c > ' ' && c <= '~'; });
  if (can_be_sent && name.size() <= kMaxHeaderBytes) context.AddMetadata("x-mtm-memory", name);
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
    SleepUnlessStopped(pause, call_options.stop);
    if (call_options.stop.stop_requested()) return absl::CancelledError("stopped");
  }
}

}  // namespace mtm::client
