// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_MEMORY_STORE_IMPORT_PARTS_H_
#define MTM_MEMORY_STORE_IMPORT_PARTS_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "memory_store/export_header.h"
#include "memory_store/file_system.h"

namespace mtm {

// The bytes of an export as they arrive, each segment in a file of its own, so that it has only to be renamed
// in the end. What is there is taken up again. Not thread-safe.
class ImportParts {
 public:
  // What is there and does not fit, or is damaged, is removed.
  static absl::StatusOr<ImportParts> TakeUp(FileSystem& file_system, std::filesystem::path folder,
                                            std::string digest, int64_t total_bytes);

  const std::string& digest() const { return digest_; }
  int64_t n_bytes() const { return n_bytes_; }
  int64_t n_bytes_missing() const { return total_bytes_ - n_bytes_; }

  // INVALID_ARGUMENT: not what an export has there, or more than there is to be. Others are the file
  // system's.
  absl::Status Append(std::span<const std::byte> data);

  // Precondition of these: no bytes are missing.
  const ExportHeader& header() const { return *header_; }
  std::filesystem::path path(size_t segment) const;
  absl::Status Sync() const;

  // Removes what is there, as far as it goes.
  void Discard();

 private:
  ImportParts(FileSystem& file_system, std::filesystem::path folder, std::string digest, int64_t total_bytes)
      : file_system_(&file_system),
        folder_(std::move(folder)),
        digest_(std::move(digest)),
        total_bytes_(total_bytes) {}

  absl::StatusOr<bool> ReadHeader();
  absl::Status FindPosition();
  absl::Status SetHeader(std::string_view line);
  absl::Status AppendToHeader(std::span<const std::byte>& data);
  absl::Status AppendToSegment(std::span<const std::byte>& data);

  FileSystem* file_system_;
  std::filesystem::path folder_;
  std::string digest_;
  int64_t total_bytes_;

  int64_t n_bytes_ = 0;
  std::string line_;                    // the beginning of the header, until it is whole
  std::optional<ExportHeader> header_;  // unset: not there yet
  size_t segment_ = 0;                  // the one that comes next, or is under way
  int64_t segment_bytes_ = 0;           // of it that are there
  std::unique_ptr<File> file_;          // its part; null: not open
};

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_IMPORT_PARTS_H_
