// SPDX-License-Identifier: Apache-2.0
#include "memory_store/manifest_file.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>

namespace mtm {
namespace {

constexpr uint64_t kMaxManifestSize = uint64_t{1} << 30;
constexpr uint64_t kMaxLineSize = 64;

// Up to `max_size` bytes from the beginning.
absl::StatusOr<std::string> ReadText(FileSystem& file_system, const std::filesystem::path& path,
                                     uint64_t max_size) {
  const absl::StatusOr<std::unique_ptr<File>> file = file_system.OpenFile(path);
  if (!file.ok()) return file.status();
  const absl::StatusOr<uint64_t> size = (*file)->Size();
  if (!size.ok()) return size.status();
  std::string text(std::min(*size, max_size), '\0');
  if (absl::Status status = (*file)->ReadAt(0, std::as_writable_bytes(std::span(text))); !status.ok()) {
    return status;
  }
  return text;
}

absl::Status WriteText(FileSystem& file_system, const std::filesystem::path& path, std::string_view text) {
  const absl::StatusOr<std::unique_ptr<File>> file = file_system.CreateFile(path);
  if (!file.ok()) return file.status();
  if (absl::Status status = (*file)->WriteAt(0, std::as_bytes(std::span(text))); !status.ok()) return status;
  return (*file)->Sync();
}

}  // namespace

absl::StatusOr<Manifest> ReadManifest(FileSystem& file_system, const std::filesystem::path& path) {
  // One that is longer does not match its checksum.
  const absl::StatusOr<std::string> text = ReadText(file_system, path, kMaxManifestSize);
  absl::StatusOr<Manifest> manifest = text.ok() ? DecodeManifest(*text) : text.status();
  if (!manifest.ok()) return WithPath(manifest.status(), path);
  return manifest;
}

absl::StatusOr<std::string> ReadManifestLine(FileSystem& file_system, const std::filesystem::path& path) {
  const absl::StatusOr<std::string> text = ReadText(file_system, path, kMaxLineSize);
  if (!text.ok()) return text.status();
  return text->substr(0, text->find('\n'));
}

absl::Status WriteManifest(FileSystem& file_system, const std::filesystem::path& path,
                           const std::filesystem::path& temporary, std::string_view text) {
  absl::Status status = WriteText(file_system, temporary, text);
  if (status.ok()) status = file_system.Rename(temporary, path);
  if (!status.ok()) {
    file_system.Remove(temporary).IgnoreError();  // the next open removes what is left
    return status;
  }
  return file_system.SyncFolder(path.parent_path());
}

}  // namespace mtm
