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

  // Says which server was not reached, or not in time.
  absl::Status Finish(const grpc::Status& status) const;

 private:
  const std::string& address_;
  grpc::ClientContext context_;
  std::stop_callback<std::function<void()>> on_stop_;  // after context_: goes first
};

// Gives `attempt` a new Call until it ends otherwise than with UNAVAILABLE, at most options.max_attempts
// times and within the timeout of `call_options`. For streams that are taken up where they broke off, or
// whose request gRPC cannot send again; the others are tried again by gRPC, see retries.h.
absl::Status CallWithRetries(const ClientOptions& options, const CallOptions& call_options,
                             const std::function<absl::Status(Call&)>& attempt);

// Balancers keep the requests for a memory on the same replicas by this header: the name of the first memory
// that a request uses.
template <typename Request>
void AddMemoryHeader(grpc::ClientContext& context, const Request& request) {
  if constexpr (requires { request.memory_uses(); }) {
    if (!request.memory_uses().empty()) AddMemoryHeader(context, request.memory_uses(0).memory());
  }
}
void AddMemoryHeader(grpc::ClientContext& context, const std::string& reference);

// An rpc without streams. gRPC tries it again.
template <typename Stub, typename Request, typename Response>
absl::StatusOr<Response> Unary(const ClientOptions& options, const CallOptions& call_options, Stub& stub,
                               grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                               const Request& request) {
  Call call(options.address, call_options);
  AddMemoryHeader(call.context(), request);
  Response response;
  absl::Status status = call.Finish((stub.*method)(&call.context(), request, &response));
  if (!status.ok()) return status;
  return response;
}

}  // namespace mtm::client

#endif  // MTM_CLIENT_CALL_H_
