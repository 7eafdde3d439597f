// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/access.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "memory_store/absl_view.h"
#include "memory_store/memory_name.h"
#include "server/rpc/small_file.h"

namespace mtm {
namespace {

// Two changes of a file within this time may look like one.
constexpr absl::Duration kTimestampGranularity = absl::Seconds(2);

constexpr std::string_view kScheme = "Bearer ";

std::string_view NamespaceOf(std::string_view memory_name) {
  const size_t slash = memory_name.find('/');
  return slash == memory_name.npos ? "" : memory_name.substr(0, slash);
}

const char* VerbOf(Right right) {
  switch (right) {
    case Right::kRead:
      return "read";
    case Right::kWrite:
      return "change";
    default:
      return "administer";
  }
}

absl::Status Denied(const std::string& principal, Right right, std::string_view memory_name) {
  return absl::PermissionDeniedError(absl::StrCat("'", principal, "' may not ", VerbOf(right),
                                                  " memories of the namespace '",
                                                  AbslView(NamespaceOf(memory_name)), "'"));
}

}  // namespace

const std::string& Principal::name() const {
  static const std::string nobody;
  return grant_ ? grant_->name : nobody;
}

bool Principal::May(Right right, std::string_view memory_name) const {
  return grant_ == nullptr || grant_->RightIn(NamespaceOf(memory_name)) >= right;
}

absl::Status Principal::Check(Right right, std::string_view reference) const {
  const std::string_view memory_name = reference.substr(0, reference.find('@'));
  if (May(right, memory_name)) return absl::OkStatus();
  if (May(Right::kRead, memory_name)) return Denied(grant_->name, right, memory_name);
  return UnknownMemory(memory_name);
}

absl::Status Principal::CheckNew(std::string_view name) const {
  if (May(Right::kWrite, name)) return absl::OkStatus();
  return Denied(grant_->name, Right::kWrite, name);
}

std::string Principal::OwnRequestId(const std::string& id) const {
  return id.empty() || grant_ == nullptr ? id : absl::StrCat(grant_->name, "/", id);
}

absl::StatusOr<std::unique_ptr<Access>> Access::Load(const std::filesystem::path& file) {
  std::unique_ptr<Access> access(new Access(file));
  const std::lock_guard lock(access->mutex_);
  const absl::Status status = access->Read();
  if (!status.ok()) return status;
  if (access->grants_.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        file.string(),
        ": has no tokens, so nobody could do anything; `mtm_server hash-token` prints an entry"));
  }
  return access;
}

absl::StatusOr<Principal> Access::Authenticate(std::string_view authorization) {
  if (!absl::StartsWithIgnoreCase(AbslView(authorization), AbslView(kScheme))) {
    return absl::UnauthenticatedError("a token is wanted: send the metadata 'authorization: Bearer <token>'");
  }
  const std::string hash = HashToken(authorization.substr(kScheme.size()));
  const std::lock_guard lock(mutex_);
  ReadIfChanged();
  const auto grant = grants_.find(hash);
  if (grant == grants_.end()) return absl::UnauthenticatedError("this token is not known here");
  return Principal(grant->second);
}

void Access::Reload() {
  const std::lock_guard lock(mutex_);
  error_.clear();
  content_.reset();
  const absl::Status status = Read();
  if (!status.ok()) LogError(status);
}

void Access::ReadIfChanged() {
  struct stat status {};  // stays empty where there is no file
  static_cast<void>(stat(file_.c_str(), &status));
  const Version version{status.st_ino, status.st_size, absl::TimeFromTimespec(status.st_ctim)};
  if (version == version_ && settled_) return;
  version_ = version;
  settled_ = version.changed < absl::Now() - kTimestampGranularity;
  const absl::Status read = Read();
  if (!read.ok()) LogError(read);
}

absl::Status Access::Read() {
  auto content = ReadSmallFile(file_);
  if (!content.ok()) return content.status();
  if (*content == content_ && error_.empty()) return absl::OkStatus();
  auto grants = ParseAccessFile(*content);
  if (!grants.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(file_.string(), ": ", grants.status().message()));
  }
  content_ = *std::move(content);
  grants_ = *std::move(grants);
  error_.clear();
  spdlog::info("event=access_loaded file={} tokens={}", file_.string(), grants_.size());
  return absl::OkStatus();
}

void Access::LogError(const absl::Status& status) {
  const std::string error(status.message());
  if (error != error_) {
    spdlog::error("event=access_not_reloaded effect=\"the tokens before count\" error=\"{}\"",
                  absl::CEscape(error));
  }
  error_ = error;
}

}  // namespace mtm
