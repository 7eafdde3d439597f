// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_OPTIONS_LISTS_H_
#define MTM_CLIENT_OPTIONS_LISTS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace mtm::client {

// "7,8,9", "7-9" or "1-3,7". INVALID_ARGUMENT for anything else. Which layers there are is the server's to
// say.
absl::StatusOr<std::vector<int32_t>> ParseLayers(std::string_view text);

// Token ids between spaces, line feeds, commas or brackets, in pieces cut anywhere.
class TokenIdParser {
 public:
  // The ids completed by `piece`. INVALID_ARGUMENT names what is no token id.
  absl::StatusOr<std::vector<int32_t>> Add(std::string_view piece);

  // The id at the very end, if there is one.
  absl::StatusOr<std::vector<int32_t>> Finish();

 private:
  absl::Status Complete(std::vector<int32_t>& ids);

  std::string pending_;  // digits not yet followed by a separator
};

absl::StatusOr<std::vector<int32_t>> ParseTokenIds(std::string_view text);

// [first, first + count)
struct TokenRange {
  int64_t first = 0;
  int64_t count = 0;
};

// "FIRST:COUNT", from 0. INVALID_ARGUMENT for anything else, or a count of 0.
absl::StatusOr<TokenRange> ParseTokenRange(std::string_view text);

}  // namespace mtm::client

#endif  // MTM_CLIENT_OPTIONS_LISTS_H_
