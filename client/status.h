// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_STATUS_H_
#define MTM_CLIENT_STATUS_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "grpcpp/support/status.h"

namespace mtm::client {

// A field of the request that the server refused.
struct FieldViolation {
  std::string field;
  std::string description;

  friend bool operator==(const FieldViolation&, const FieldViolation&) = default;
};

// The only place where gRPC's status becomes ours: the same code and message; each google.rpc detail that the
// server sent becomes a payload under its type URL.
absl::Status FromGrpc(const grpc::Status& status);

// What a google.rpc.BadRequest carried by `status` names; empty where there is none.
std::vector<FieldViolation> FieldViolations(const absl::Status& status);

// As FromGrpc attaches them, for an error found before anything was sent.
absl::Status WithFieldViolations(absl::Status status, const std::vector<FieldViolation>& violations);

// After how long a server that refused for now wants to be asked again: its google.rpc.RetryInfo.
std::optional<absl::Duration> RetryDelay(const absl::Status& status);

// `CODE: message`, with `(try again in 3.00 s)` where there is a RetryDelay, and a line `  field:
// description` for each violation. No line feed at the end. Control characters are escaped: the text goes to
// terminals.
std::string StatusText(const absl::Status& status);

}  // namespace mtm::client

#endif  // MTM_CLIENT_STATUS_H_
