// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_COMMANDS_EXIT_CODE_H_
#define MTM_CLIENT_COMMANDS_EXIT_CODE_H_

#include "absl/status/status.h"

namespace mtm::client {

// As `mtm --help` lists them. 128 + SIGINT, as shells have it.
inline constexpr int kInterruptedExitCode = 130;

inline int ExitCode(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
      return 0;
    case absl::StatusCode::kInvalidArgument:
      return 2;
    case absl::StatusCode::kNotFound:
      return 3;
    case absl::StatusCode::kAlreadyExists:
      return 4;
    case absl::StatusCode::kFailedPrecondition:
      return 5;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return 6;
    case absl::StatusCode::kResourceExhausted:
      return 7;
    case absl::StatusCode::kDataLoss:
      return 8;
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kPermissionDenied:
      return 9;
    default:
      return 1;
  }
}

}  // namespace mtm::client

#endif  // MTM_CLIENT_COMMANDS_EXIT_CODE_H_
