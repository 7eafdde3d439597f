// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_MEMORY_STORE_MEMORY_FILE_WRITER_H_
#define MTM_MEMORY_STORE_MEMORY_FILE_WRITER_H_

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "memory_store/file_system.h"
#include "memory_store/memory_layout.h"

namespace mtm {

// A memory file being written under a temporary path. Holds no rows in RAM. Removes the file when destroyed,
// unless it was released. Not thread-safe. Errors are those of MemoryWriter.
class MemoryFileWriter {
 public:
  static absl::StatusOr<std::unique_ptr<MemoryFileWriter>> Create(FileSystem& file_system,
                                                                  std::filesystem::path path,
                                                                  MemorySpec spec);
  ~MemoryFileWriter();
  MemoryFileWriter(const MemoryFileWriter&) = delete;
  MemoryFileWriter& operator=(const MemoryFileWriter&) = delete;

  absl::Status BeginWindow(std::span<const int32_t> tokens);
  absl::Status Write(int layer, int head, std::span<const float> keys, std::span<const float> values);

  // Writes table and digest, makes the file durable and returns the digest. Once, last.
  absl::StatusOr<std::string> Finish();

  const std::filesystem::path& path() const { return path_; }
  void Release() { released_ = true; }  // the file was renamed

 private:
  MemoryFileWriter(FileSystem& file_system, std::filesystem::path path, MemorySpec spec);

  absl::StatusOr<std::string> Seal();
  absl::Status CheckWindowComplete() const;
  absl::Status WriteRows(std::string_view kind, int layer, int head, std::span<const float> rows);
  absl::Status Put(uint64_t offset, std::span<const std::byte> data);

  FileSystem& file_system_;
  const std::filesystem::path path_;
  const MemoryLayout layout_;
  std::unique_ptr<File> file_;
  absl::Status broken_;  // the first error of the disk, or Finish
  bool released_ = false;
  int64_t window_begin_ = 0;
  int64_t window_size_ = 0;
  std::vector<bool> written_;  // [layers kept, n_head], in the window
};

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_MEMORY_FILE_WRITER_H_
