// SPDX-License-Identifier: Apache-2.0
// How every call of a Client is made.
#ifndef MTM_CLIENT_CALL_H_
#define MTM_CLIENT_CALL_H_

#include <functional>
#include <stop_token>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/client.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/status.h"

namespace mtm::client {

// One call: its context with the deadline, cancelled when a stop is requested, and how it ended.
class Call {
 public:
  // `address` outlives the call.
  Call(const std::string& address, const CallOptions& options);

  grpc::ClientContext& context() { return context_; }

  // Says which server was not reached.
  absl::Status Finish(const grpc::Status& status) const;

 private:
  const std::string& address_;
  grpc::ClientContext context_;
  std::stop_callback<std::function<void()>> on_stop_;  // after context_: goes first
};

// Gives `attempt` a new Call until it ends otherwise than with UNAVAILABLE, at most options.max_attempts
// times and within the timeout of `call_options`. For calls that may be made twice.
absl::Status CallWithRetries(const ClientOptions& options, const CallOptions& call_options,
                             const std::function<absl::Status(Call&)>& attempt);

// CallWithRetries for an rpc without streams.
template <typename Stub, typename Request, typename Response>
absl::StatusOr<Response> Unary(const ClientOptions& options, const CallOptions& call_options, Stub& stub,
                               grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                               const Request& request) {
  Response response;
  absl::Status status = CallWithRetries(options, call_options, [&](Call& call) {
    return call.Finish((stub.*method)(&call.context(), request, &response));
  });
  if (!status.ok()) return status;
  return response;
}

}  // namespace mtm::client

#endif  // MTM_CLIENT_CALL_H_
