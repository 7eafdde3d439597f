// SPDX-License-Identifier: Apache-2.0
#include "memory_store/file_system.h"

#include <cerrno>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "memory_store/absl_view.h"

namespace mtm {
namespace {

absl::StatusCode CodeOf(int error_number) {
  switch (error_number) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      return absl::StatusCode::kResourceExhausted;
    case EACCES:
    case EPERM:
    case EROFS:
    case ENOTDIR:
    case EISDIR:
    case ENAMETOOLONG:
    case ELOOP:
      return absl::StatusCode::kFailedPrecondition;
    case ENOENT:
      return absl::StatusCode::kNotFound;
    case EEXIST:
      return absl::StatusCode::kAlreadyExists;
    default:
      return absl::StatusCode::kInternal;
  }
}

}  // namespace

absl::Status StatusFromErrno(int error_number, std::string_view action, const std::filesystem::path& path) {
  const std::string cause = std::generic_category().message(error_number);
  return absl::Status(CodeOf(error_number),
                      absl::StrCat("cannot ", AbslView(action), " ", path.string(), ": ", cause));
}

absl::Status WithPath(const absl::Status& status, const std::filesystem::path& path) {
  if (status.ok() || absl::StrContains(status.message(), path.string())) return status;
  return absl::Status(status.code(), absl::StrCat(path.string(), ": ", status.message()));
}

}  // namespace mtm
