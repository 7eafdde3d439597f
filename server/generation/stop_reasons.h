// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_GENERATION_STOP_REASONS_H_
#define MTM_SERVER_GENERATION_STOP_REASONS_H_

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace mtm {

// Why work ends that nobody is to blame for.
inline absl::Status ShuttingDown() { return absl::UnavailableError("the server is shutting down"); }
inline absl::Status ClientLeft() { return absl::CancelledError("the client left"); }

inline constexpr char kRetryDelayPayload[] = "mtm/retry_delay_ms";

// RESOURCE_EXHAUSTED: refused now, and worth another try after `retry_delay`.
inline absl::Status Overloaded(const std::string& message, absl::Duration retry_delay) {
  absl::Status status = absl::ResourceExhaustedError(message);
  status.SetPayload(kRetryDelayPayload, absl::Cord(absl::StrCat(absl::ToInt64Milliseconds(retry_delay))));
  return status;
}

// The delay that Overloaded put into a status.
inline std::optional<absl::Duration> RetryDelay(const absl::Status& status) {
  const auto payload = status.GetPayload(kRetryDelayPayload);
  int64_t ms = 0;
  if (!payload || !absl::SimpleAtoi(std::string(*payload), &ms)) return std::nullopt;
  return absl::Milliseconds(ms);
}

}  // namespace mtm

#endif  // MTM_SERVER_GENERATION_STOP_REASONS_H_
