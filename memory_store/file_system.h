// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_MEMORY_STORE_FILE_SYSTEM_H_
#define MTM_MEMORY_STORE_FILE_SYSTEM_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace mtm {

// The only place where an errno becomes a status. "cannot <action> <path>: <what the system says>", as
// RESOURCE_EXHAUSTED (disk, quota or descriptors used up), FAILED_PRECONDITION (permission, read-only, no
// folder), NOT_FOUND, ALREADY_EXISTS or INTERNAL (the rest, EIO among them).
absl::Status StatusFromErrno(int error_number, std::string_view action, const std::filesystem::path& path);

// The same error with the path in front, unless it is in the message already.
absl::Status WithPath(const absl::Status& status, const std::filesystem::path& path);

// The bytes of a file in the address space, read-only, until destroyed. The file may be removed meanwhile,
// but must not be truncated.
class FileMapping {
 public:
  virtual ~FileMapping() = default;
  virtual std::span<const std::byte> bytes() const = 0;
};

// An open file, closed when destroyed. Thread-safe where the ranges do not overlap.
class File {
 public:
  virtual ~File() = default;
  virtual absl::StatusOr<uint64_t> Size() const = 0;
  // The whole span or an error; DATA_LOSS where the file ends before it.
  virtual absl::Status ReadAt(uint64_t offset, std::span<std::byte> out) const = 0;
  // The whole span or an error, after which any part of it may be written.
  virtual absl::Status WriteAt(uint64_t offset, std::span<const std::byte> data) = 0;
  // Takes the space for `size` bytes now, so that a full disk shows before the work is done. Where the file
  // system cannot, nothing happens.
  virtual absl::Status Allocate(uint64_t size) = 0;
  // Makes content and size durable.
  virtual absl::Status Sync() = 0;
  virtual absl::StatusOr<std::unique_ptr<FileMapping>> Map() const = 0;
};

// Held until destroyed or until the process dies.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

// What the store needs of an operating system: the seam at which tests inject faults. Thread-safe.
class FileSystem {
 public:
  virtual ~FileSystem() = default;
  virtual absl::StatusOr<std::unique_ptr<File>> OpenFile(const std::filesystem::path& path) = 0;  // to read
  // To read and write what is there.
  virtual absl::StatusOr<std::unique_ptr<File>> OpenToWrite(const std::filesystem::path& path) = 0;
  // To read and write; ALREADY_EXISTS rather than open what is there.
  virtual absl::StatusOr<std::unique_ptr<File>> CreateFile(const std::filesystem::path& path) = 0;
  // With its parents; one that exists is fine.
  virtual absl::Status CreateFolder(const std::filesystem::path& path) = 0;
  virtual absl::StatusOr<std::vector<std::string>> ListFolder(
      const std::filesystem::path& path) = 0;  // sorted
  virtual absl::Status Rename(const std::filesystem::path& from, const std::filesystem::path& to) = 0;
  // A file or an empty folder.
  virtual absl::Status Remove(const std::filesystem::path& path) = 0;
  // When the content was last changed.
  virtual absl::StatusOr<absl::Time> ModifyTime(const std::filesystem::path& path) = 0;
  // Makes creations, renames and removals in the folder durable.
  virtual absl::Status SyncFolder(const std::filesystem::path& path) = 0;
  // Creates the file where it is missing. FAILED_PRECONDITION where somebody holds it, in this process or
  // another.
  virtual absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::filesystem::path& path) = 0;
};

// The operating system's; never destroyed.
FileSystem* PosixFileSystem();

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_FILE_SYSTEM_H_
