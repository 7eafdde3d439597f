// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_STATUS_H_
#define MTM_SERVER_RPC_STATUS_H_

#include <grpcpp/support/status.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace mtm {

// Payload of an absl::Status that carries a serialized google.rpc.BadRequest.
inline constexpr char kBadRequestType[] = "type.googleapis.com/google.rpc.BadRequest";

// The only place where our status becomes gRPC's. Payloads go into the error details, as a google.rpc.Status.
// A text of any length and content is made fit for HTTP/2 trailers, whose size peers limit to 8 KiB.
grpc::Status ToGrpcStatus(const absl::Status& status);

// `text` as UTF-8 of at most `max_bytes`; what is cut off ends in "...".
std::string Shorten(std::string_view text, size_t max_bytes);

}  // namespace mtm

#endif  // MTM_SERVER_RPC_STATUS_H_
