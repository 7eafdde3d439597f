// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_CALL_H_
#define MTM_CLIENT_CALL_H_

#include <chrono>
#include <functional>
#include <stop_token>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/client.h"
#include "client/status.h"
#include "grpcpp/client_context.h"

namespace mtm::client {

// One call: its context with the deadline, cancelled when a stop is requested, and how it ended.
class Call {
 public:
  // `address` outlives the call.
  Call(const std::string& address, const CallOptions& options)
      : address_(address), on_stop_(options.stop, [this] { context_.TryCancel(); }) {
    if (options.timeout < absl::InfiniteDuration()) {
      context_.set_deadline(absl::ToChronoTime(absl::Now() + options.timeout));
    }
  }

  grpc::ClientContext& context() { return context_; }

  // Says which server was not reached.
  absl::Status Finish(const grpc::Status& status) const {
    if (status.error_code() != grpc::StatusCode::UNAVAILABLE) return FromGrpc(status);
    return FromGrpc(grpc::Status(status.error_code(), absl::StrCat(address_, ": ", status.error_message()),
                                 status.error_details()));
  }

 private:
  const std::string& address_;
  grpc::ClientContext context_;
  std::stop_callback<std::function<void()>> on_stop_;  // after context_: goes first
};

}  // namespace mtm::client

#endif  // MTM_CLIENT_CALL_H_
