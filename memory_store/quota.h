// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_MEMORY_STORE_QUOTA_H_
#define MTM_MEMORY_STORE_QUOTA_H_

#include <string_view>

#include "absl/status/status.h"
#include "memory_store/manifest.h"
#include "memory_store/memory_store.h"

namespace mtm {

// RESOURCE_EXHAUSTED where the namespace of `name` has more in `after` than its quota allows, and more than
// in `before`: what was there when a quota was lowered may stay and shrink.
absl::Status CheckQuota(const Quotas& quotas, std::string_view name, const Manifest& before,
                        const Manifest& after);

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_QUOTA_H_
