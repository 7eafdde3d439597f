// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_MEMORY_STORE_MEMORY_STORE_H_
#define MTM_MEMORY_STORE_MEMORY_STORE_H_

#include <cstdint>
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

// `[a-z0-9][a-z0-9._-]{0,62}`, with up to three more such parts after slashes. INVALID_ARGUMENT says what is
// wrong.
absl::Status CheckMemoryName(std::string_view name);

// Writes one new memory, its rows going to disk as they come. Not thread-safe; several may be open at once,
// of one store. Unless Commit succeeds, nothing of it is ever listed and its temporary file goes with the
// writer. May outlive the store, whose folder stays locked as long.
class MemoryWriter {
 public:
  ~MemoryWriter();
  MemoryWriter(const MemoryWriter&) = delete;
  MemoryWriter& operator=(const MemoryWriter&) = delete;

  // The tokens of the next rows. A window is written with one BeginWindow and one call of Write for each kept
  // layer and head, in any order. INVALID_ARGUMENT: no tokens, a negative one, or more than the spec's
  // n_tokens in all; FAILED_PRECONDITION: rows of the window before are missing.
  absl::Status BeginWindow(std::span<const int32_t> tokens);

  // Keys and values [n, head_dim] of one (layer, head), n = tokens of the window. INVALID_ARGUMENT: no such
  // layer or head, another size, or a number that is not finite; FAILED_PRECONDITION: no window, or written
  // before.
  absl::Status Write(int layer, int head, std::span<const float> keys, std::span<const float> values);

  // Makes the memory durable and visible, in one step. ALREADY_EXISTS where another took the name meanwhile;
  // RESOURCE_EXHAUSTED: disk full; FAILED_PRECONDITION: rows are missing, and it can be
  // called again when they are there. Otherwise once only, whatever it returns.
  absl::StatusOr<std::shared_ptr<const Memory>> Commit();

  // Each of the three: after RESOURCE_EXHAUSTED, INTERNAL or another error of the disk the writer is spent
  // and says so again.

 private:
  friend class MemoryStore;
  struct Impl;
  explicit MemoryWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Named memories in a folder. Thread-safe. FORMAT.md describes the files.
class MemoryStore {
 public:
  struct Damaged {
    std::string name;
    std::string reason;  // what and where, with the file's path
  };

  // Opens or makes the folder, takes its lock, removes what unfinished writes left behind and loads every
  // memory. One that is damaged is reported by ListDamaged and does not keep the others from being served.
  // FAILED_PRECONDITION: another process or store holds the folder, its format is newer than this reader, or
  // no permission. DATA_LOSS: the list of memories itself is damaged or missing; nothing is touched then.
  // `file_system` outlives the store, its writers and its memories; null is the operating system's.
  static absl::StatusOr<std::unique_ptr<MemoryStore>> Open(const std::filesystem::path& root,
                                                           FileSystem* file_system = nullptr);
  ~MemoryStore();
  MemoryStore(const MemoryStore&) = delete;
  MemoryStore& operator=(const MemoryStore&) = delete;

  // `reference` is `name` or `name@digest`, the digest possibly shortened to 8 digits or more.
  // INVALID_ARGUMENT: malformed. NOT_FOUND: names that come close, or the digest that is current.
  // DATA_LOSS: damaged, with the reason; FAILED_PRECONDITION: its file is of a newer format.
  absl::StatusOr<std::shared_ptr<const Memory>> Get(std::string_view reference) const;

  std::vector<MemoryInfo> List() const;      // by name; without the damaged ones
  std::vector<Damaged> ListDamaged() const;  // by name

  // INVALID_ARGUMENT (name, or a spec that is no memory), ALREADY_EXISTS, RESOURCE_EXHAUSTED (disk full: the
  // space for all n_tokens is taken at once).
  absl::StatusOr<std::unique_ptr<MemoryWriter>> Create(std::string_view name, MemorySpec spec);

  // NOT_FOUND as Get. A damaged memory can be deleted. Who holds the memory may go on using it.
  // After another error the memory is still served, but may be gone when the folder is opened next.
  absl::Status Delete(std::string_view reference);

 private:
  friend class MemoryWriter;
  class Impl;
  explicit MemoryStore(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_MEMORY_STORE_H_
