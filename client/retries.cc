// SPDX-License-Identifier: Apache-2.0
#include "client/retries.h"

#include "absl/strings/str_format.h"

namespace mtm::client {

std::string ServiceConfig(const ClientOptions& options) {
  if (options.max_attempts < 2) return "{}";  // which gRPC takes for an error in a retry policy
  // Writes among them have a request id: nothing is done twice.
  constexpr char kConfig[] = R"({"methodConfig": [{
    "name": [
      {"service": "mtm.v1.InferenceService"},
      {"service": "mtm.v1.MemoryService", "method": "GetMemory"},
      {"service": "mtm.v1.MemoryService", "method": "ListMemories"},
      {"service": "mtm.v1.MemoryService", "method": "RollbackMemory"},
      {"service": "mtm.v1.MemoryService", "method": "CopyMemory"},
      {"service": "mtm.v1.MemoryService", "method": "UpdateMemory"},
      {"service": "mtm.v1.MemoryService", "method": "DeleteMemory"},
      {"service": "mtm.v1.MemoryService", "method": "LoadMemory"},
      {"service": "mtm.v1.MemoryService", "method": "UnloadMemory"}
    ],
    "retryPolicy": {
      "maxAttempts": %d,
      "initialBackoff": "%.3fs",
      "maxBackoff": "10s",
      "backoffMultiplier": %d,
      "retryableStatusCodes": ["UNAVAILABLE"]
    }
  }]})";
  const double first_delay = absl::ToDoubleSeconds(options.first_retry_delay);
  return absl::StrFormat(kConfig, options.max_attempts, first_delay, kBackoffFactor);
}

}  // namespace mtm::client
