// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_SMALL_FILE_H_
#define MTM_SERVER_RPC_SMALL_FILE_H_

#include <filesystem>
#include <string>

#include "absl/status/statusor.h"

namespace mtm {

// The whole of a file that somebody else keeps: a certificate, a key, a list of tokens. Errors name it:
// NOT_FOUND, FAILED_PRECONDITION (permission), INVALID_ARGUMENT (no regular file, or above 1 MiB).
absl::StatusOr<std::string> ReadSmallFile(const std::filesystem::path& path);

}  // namespace mtm

#endif  // MTM_SERVER_RPC_SMALL_FILE_H_
