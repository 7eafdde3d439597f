// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_MEMORY_STORE_MEMORY_FILE_H_
#define MTM_MEMORY_STORE_MEMORY_FILE_H_

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "memory_store/file_system.h"
#include "memory_store/memory.h"
#include "memory_store/memory_layout.h"

namespace mtm {

// A checked memory file, mapped. Immutable and thread-safe; several memories may share one.
struct Memory::File {
  MemoryLayout layout;
  std::string digest;
  std::unique_ptr<FileMapping> mapping;
  const int32_t* tokens = nullptr;   // [n_tokens]
  std::vector<const float*> keys;    // by layer, null where not kept; [n_head, n_tokens, head_dim]
  std::vector<const float*> values;  // as keys
};

enum class Verify {
  kHead,    // all but the blocks: for a file that was just written
  kBlocks,  // every byte against its checksum
};

// Opens the file that should have this digest. DATA_LOSS: missing, truncated or damaged, with what and where;
// FAILED_PRECONDITION: of a newer version, or no permission; RESOURCE_EXHAUSTED, INTERNAL: it cannot be read.
// Every message has the path.
absl::StatusOr<std::shared_ptr<const Memory::File>> OpenMemoryFile(FileSystem& file_system,
                                                                   const std::filesystem::path& path,
                                                                   std::string_view digest, Verify verify);

// Reads bytes 0..data_size-1 in blocks of kBlockSize, in order, and stops at the first error.
absl::Status ForEachBlock(
    const mtm::File& file, uint64_t data_size,
    const std::function<absl::Status(uint64_t block, std::span<const std::byte>)>& visit);

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_MEMORY_FILE_H_
