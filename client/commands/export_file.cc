// SPDX-License-Identifier: Apache-2.0
#include "client/commands/export_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace mtm::client {
namespace {

constexpr size_t kChunkBytes = 256 << 10;

absl::Status Failed(const std::string& what, const std::string& path) {
  const std::string text = absl::StrCat("cannot ", what, " ", path, ": ", std::strerror(errno));
  return errno == ENOSPC || errno == EDQUOT ? absl::ResourceExhaustedError(text) : absl::UnknownError(text);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ExportFile>> ExportFile::OpenForWriting(const std::string& path) {
  const int descriptor = open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (descriptor < 0) return Failed("write", path);
  auto file = std::unique_ptr<ExportFile>(new ExportFile(path, descriptor));
  if (flock(descriptor, LOCK_EX | LOCK_NB) == 0) return file;
  if (errno != EWOULDBLOCK) return Failed("lock", path);
  return absl::FailedPreconditionError(absl::StrCat("another export is writing ", path));
}

absl::StatusOr<std::unique_ptr<ExportFile>> ExportFile::OpenForReading(const std::string& path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return absl::InvalidArgumentError(std::string(Failed("read", path).message()));
  return std::unique_ptr<ExportFile>(new ExportFile(path, descriptor));
}

ExportFile::~ExportFile() { close(descriptor_); }

absl::StatusOr<int64_t> ExportFile::Size() const {
  struct stat info;
  if (fstat(descriptor_, &info) != 0) return Failed("read", path_);
  return int64_t{info.st_size};
}

absl::StatusOr<std::string> ExportFile::Digest() const {
  const auto head = Read(0);
  if (!head.ok()) return head.status();
  const auto line =
      nlohmann::json::parse(head->substr(0, head->find('\n')), nullptr, /*allow_exceptions=*/false);
  if (!line.is_object() || !line.contains("format") || !line.contains("digest")) return std::string();
  return line["digest"].is_string() ? line["digest"].get<std::string>() : std::string();
}

absl::StatusOr<std::string> ExportFile::Read(int64_t offset) const {
  std::string chunk(kChunkBytes, '\0');
  ssize_t size = 0;
  do {
    size = pread(descriptor_, chunk.data(), chunk.size(), offset);
  } while (size < 0 && errno == EINTR);
  if (size < 0) return Failed("read", path_);
  chunk.resize(static_cast<size_t>(size));
  return chunk;
}

absl::Status ExportFile::Append(std::string_view data) {
  while (!data.empty()) {
    const ssize_t size = write(descriptor_, data.data(), data.size());
    if (size < 0 && errno != EINTR) return Failed("write", path_);
    if (size > 0) data.remove_prefix(static_cast<size_t>(size));
  }
  return absl::OkStatus();
}

absl::Status ExportFile::Truncate() {
  return ftruncate(descriptor_, 0) == 0 ? absl::OkStatus() : Failed("write", path_);
}

absl::Status ExportFile::Finish(const std::string& path) {
  if (fsync(descriptor_) != 0) return Failed("write", path_);
  return std::rename(path_.c_str(), path.c_str()) == 0 ? absl::OkStatus() : Failed("write", path);
}

}  // namespace mtm::client
