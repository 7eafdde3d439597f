// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_MEMORY_STORE_SEGMENT_WRITER_H_
#define MTM_MEMORY_STORE_SEGMENT_WRITER_H_

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "memory_store/digest.h"
#include "memory_store/file_system.h"
#include "memory_store/memory.h"
#include "memory_store/segment_layout.h"

namespace mtm {

// A window to be written: its rows and label are known before its numbers.
struct PlannedWindow {
  int64_t n_tokens = 0;
  std::string source;
};

// A segment being written under a temporary path. Holds no rows in RAM. Removes the file when destroyed, if
// it is still under that path. Not thread-safe. Errors are those of MemoryWriter.
class SegmentWriter {
 public:
  // INVALID_ARGUMENT: no windows, or a spec that is no memory. RESOURCE_EXHAUSTED: disk full; the space is
  // taken at once.
  static absl::StatusOr<std::unique_ptr<SegmentWriter>> Create(FileSystem& file_system,
                                                               std::filesystem::path path, MemorySpec spec,
                                                               const std::vector<PlannedWindow>& windows);
  ~SegmentWriter();
  SegmentWriter(const SegmentWriter&) = delete;
  SegmentWriter& operator=(const SegmentWriter&) = delete;

  absl::Status BeginWindow(std::span<const int32_t> tokens);
  absl::Status Write(int layer, int head, std::span<const float> keys, std::span<const float> values);
  // The next window whole, bit for bit as `from` stores it.
  absl::Status CopyWindow(const Segment& from, size_t window);

  // Writes header and table, makes the file durable and returns the digest. Once, last.
  absl::StatusOr<std::string> Finish();

  const std::filesystem::path& path() const { return path_; }

 private:
  struct Impl;
  SegmentWriter(FileSystem& file_system, std::filesystem::path path);
  FileSystem& file_system_;
  const std::filesystem::path path_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_SEGMENT_WRITER_H_
