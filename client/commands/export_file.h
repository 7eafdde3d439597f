// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_COMMANDS_EXPORT_FILE_H_
#define MTM_CLIENT_COMMANDS_EXPORT_FILE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace mtm::client {

// A file with the bytes of a version, as ExportMemory gives them. Errors of the system name the path.
class ExportFile {
 public:
  // FAILED_PRECONDITION: another process writes it.
  static absl::StatusOr<std::unique_ptr<ExportFile>> OpenForWriting(const std::string& path);
  // INVALID_ARGUMENT: it cannot be opened; it is the command line that names it.
  static absl::StatusOr<std::unique_ptr<ExportFile>> OpenForReading(const std::string& path);

  ~ExportFile();
  ExportFile(const ExportFile&) = delete;
  ExportFile& operator=(const ExportFile&) = delete;

  absl::StatusOr<int64_t> Size() const;
  // Of the version that the file begins with; empty where it does not begin as an export does.
  absl::StatusOr<std::string> Digest() const;

  // At most 256 KiB from `offset` on; empty at the end.
  absl::StatusOr<std::string> Read(int64_t offset) const;

  absl::Status Append(std::string_view data);
  absl::Status Truncate();  // to nothing
  // Makes it durable and gives it the name `path`.
  absl::Status Finish(const std::string& path);

 private:
  ExportFile(std::string path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}

  const std::string path_;
  const int descriptor_;
};

}  // namespace mtm::client

#endif  // MTM_CLIENT_COMMANDS_EXPORT_FILE_H_
