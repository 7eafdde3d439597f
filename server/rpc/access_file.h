// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_ACCESS_FILE_H_
#define MTM_SERVER_RPC_ACCESS_FILE_H_

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace mtm {

// What may be done with the memories of a namespace. Each has those before it.
enum class Right { kNone, kRead, kWrite, kAdmin };

// What the holder of a token may do.
struct Grant {
  std::string name;                     // for the log: [A-Za-z0-9._-]{1,64}
  std::map<std::string, Right> rights;  // by namespace; "*": all that are not listed

  Right RightIn(std::string_view name_space) const;
};

// By the SHA-256 of the token, 64 hexadecimal digits.
using Grants = std::map<std::string, std::shared_ptr<const Grant>>;

// The content of an access file. INVALID_ARGUMENT: says what is wrong where, without naming the file.
absl::StatusOr<Grants> ParseAccessFile(std::string_view json);

// SHA-256 of a token. Who reads the file cannot use what it holds, and looking a digest up takes a time that
// tells nothing about a token.
std::string HashToken(std::string_view token);

// A line for the file, with the right to read everything, to be edited.
std::string AccessFileLine(std::string_view name, std::string_view token);

}  // namespace mtm

#endif  // MTM_SERVER_RPC_ACCESS_FILE_H_
