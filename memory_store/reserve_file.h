// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_MEMORY_STORE_RESERVE_FILE_H_
#define MTM_MEMORY_STORE_RESERVE_FILE_H_

#include <cstdint>
#include <filesystem>

#include "absl/status/status.h"
#include "memory_store/file_system.h"

namespace mtm {

// Space for the manifest that a deletion must write on a full disk. Not thread-safe.
class ReserveFile {
 public:
  ReserveFile(FileSystem& file_system, std::filesystem::path path);

  // Makes it as large as that, where the disk has room; where not, the next call tries again.
  void Ensure(uint64_t size);

  // Whether there was anything to give.
  bool GiveUp();

 private:
  absl::Status Make(uint64_t size);

  FileSystem& file_system_;
  const std::filesystem::path path_;
  uint64_t size_ = 0;  // known to be there
};

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_RESERVE_FILE_H_
