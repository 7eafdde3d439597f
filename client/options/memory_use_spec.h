// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_OPTIONS_MEMORY_USE_SPEC_H_
#define MTM_CLIENT_OPTIONS_MEMORY_USE_SPEC_H_

#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mtm/v1/inference_service.pb.h"

namespace mtm::client {

// What --memory takes: NAME[@DIGEST][:key=value,...], as in
//   cats
//   cats@0f3a9c21:layers=7-9,method=2,k=5,mf=5,bf=0.9,ts=0.01,r=0.33,heads=0.1
// `layers` may hold commas itself: cats:layers=7,8,9,k=3. INVALID_ARGUMENT for a key that is unknown or comes
// twice, or a value of another kind. Whether a value is in its range is the server's to say.
absl::StatusOr<v1::MemoryUse> ParseMemoryUse(std::string_view spec);

// Sets one key of the above.
absl::Status SetMemoryUseField(std::string_view key, std::string_view value, v1::MemoryUse& use);

// Gives `use` each setting that `defaults` has and it has not.
void ApplyDefaults(const v1::MemoryUse& defaults, v1::MemoryUse& use);

}  // namespace mtm::client

#endif  // MTM_CLIENT_OPTIONS_MEMORY_USE_SPEC_H_
