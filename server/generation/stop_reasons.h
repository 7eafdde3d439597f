// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_GENERATION_STOP_REASONS_H_
#define MTM_SERVER_GENERATION_STOP_REASONS_H_

#include "absl/status/status.h"

namespace mtm {

// Why work ends that nobody is to blame for.
inline absl::Status ShuttingDown() { return absl::UnavailableError("the server is shutting down"); }
inline absl::Status ClientLeft() { return absl::CancelledError("the client left"); }

}  // namespace mtm

#endif  // MTM_SERVER_GENERATION_STOP_REASONS_H_
