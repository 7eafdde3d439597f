// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/small_file.h"

#include <cstdint>
#include <span>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "memory_store/file_system.h"

namespace mtm {
namespace {

constexpr uint64_t kMaxBytes = 1 << 20;

}  // namespace

absl::StatusOr<std::string> ReadSmallFile(const std::filesystem::path& path) {
  std::error_code ignored;  // what is not there fails to open
  const auto type = std::filesystem::status(path, ignored).type();
  using enum std::filesystem::file_type;
  if (type != regular && type != not_found && type != none) {  // a pipe would be waited for
    return absl::InvalidArgumentError(absl::StrCat(path.string(), " is not a regular file"));
  }
  const auto file = PosixFileSystem()->OpenFile(path);
  if (!file.ok()) return file.status();
  const auto size = (*file)->Size();
  if (!size.ok()) return size.status();
  if (*size > kMaxBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path.string(), " has ", *size, " bytes; at most ", kMaxBytes, " are read"));
  }
  std::string content(*size, '\0');
  const absl::Status status = (*file)->ReadAt(0, std::as_writable_bytes(std::span(content)));
  if (!status.ok()) return status;
  return content;
}

}  // namespace mtm
