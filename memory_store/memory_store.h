// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_MEMORY_STORE_MEMORY_STORE_H_
#define MTM_MEMORY_STORE_MEMORY_STORE_H_

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "memory_store/memory.h"

namespace mtm {

class FileSystem;

// `[a-z0-9][a-z0-9._-]{0,62}`, with up to three more such parts after slashes. INVALID_ARGUMENT says what is wrong.
absl::Status CheckMemoryName(std::string_view name);

// Writes one new memory. Not thread-safe. Unless Commit succeeds, nothing of it is ever listed and its
// temporary file goes with the writer.
class MemoryWriter {
 public:
  virtual ~MemoryWriter() = default;

  // The next rows of one (layer, head): keys and values [n, head_dim], n = tokens given with them.
  // A window is written with one BeginWindow and one call of Write for each kept layer and head, in any order.
  virtual absl::Status BeginWindow(std::span<const int32_t> tokens) = 0;
  virtual absl::Status Write(int layer, int head, std::span<const float> keys, std::span<const float> values) = 0;

  // Makes the memory durable and visible, in one step. ALREADY_EXISTS where another took the name meanwhile;
  // RESOURCE_EXHAUSTED: disk full; FAILED_PRECONDITION: rows are missing.
  virtual absl::StatusOr<std::shared_ptr<const Memory>> Commit() = 0;
};

// Named memories in a folder. Thread-safe. FORMAT.md describes the files.
class MemoryStore {
 public:
  struct Damaged {
    std::string name;
    std::string reason;
  };

  // Opens or makes the folder, takes its lock, removes what unfinished writes left behind and loads every memory.
  // One that is damaged is reported by ListDamaged and does not keep the others from being served.
  // FAILED_PRECONDITION: another process holds the folder, or its format is newer than this reader.
  // `file_system` outlives the store; null is the operating system's.
  static absl::StatusOr<std::unique_ptr<MemoryStore>> Open(const std::filesystem::path& root,
                                                           FileSystem* file_system = nullptr);
  virtual ~MemoryStore() = default;

  // `reference` is `name` or `name@digest`, the digest possibly shortened to 8 digits or more.
  // INVALID_ARGUMENT: malformed. NOT_FOUND: names that come close, or the digest that is current.
  // DATA_LOSS: damaged, with the reason.
  virtual absl::StatusOr<std::shared_ptr<const Memory>> Get(std::string_view reference) const = 0;

  virtual std::vector<MemoryInfo> List() const = 0;  // by name
  virtual std::vector<Damaged> ListDamaged() const = 0;

  // INVALID_ARGUMENT (name, or a spec that is no memory), ALREADY_EXISTS, RESOURCE_EXHAUSTED (disk full).
  virtual absl::StatusOr<std::unique_ptr<MemoryWriter>> Create(std::string_view name, MemorySpec spec) = 0;

  // NOT_FOUND as Get. A damaged memory can be deleted.
  virtual absl::Status Delete(std::string_view reference) = 0;
};

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_MEMORY_STORE_H_
