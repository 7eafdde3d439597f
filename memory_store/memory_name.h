// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_MEMORY_STORE_MEMORY_NAME_H_
#define MTM_MEMORY_STORE_MEMORY_NAME_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace mtm {

// `name` or `name@digest`.
struct MemoryReference {
  std::string name;
  std::string digest;  // empty, or the first 8 to 64 digits
};

// INVALID_ARGUMENT: the name as CheckMemoryName has it, or a digest that cannot be one.
absl::StatusOr<MemoryReference> ParseMemoryReference(std::string_view reference);

// NOT_FOUND: no memory of this name. Who may see which other names is the caller's to know: CloseNames.
absl::Status UnknownMemory(std::string_view name);

// At most 3 of `names` that `name` may have been meant to be, the closest first.
std::vector<std::string> CloseNames(std::string_view name, const std::vector<std::string>& names);

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_MEMORY_NAME_H_
