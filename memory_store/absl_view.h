// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_MEMORY_STORE_ABSL_VIEW_H_
#define MTM_MEMORY_STORE_ABSL_VIEW_H_

#include <string_view>

#include "absl/strings/string_view.h"

namespace mtm {

// For absl::StrCat and its kin: Debian's abseil is built with a string_view of its own.
inline absl::string_view AbslView(std::string_view text) { return {text.data(), text.size()}; }

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_ABSL_VIEW_H_
