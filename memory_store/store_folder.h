// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_MEMORY_STORE_STORE_FOLDER_H_
#define MTM_MEMORY_STORE_STORE_FOLDER_H_

#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "memory_store/file_system.h"
#include "memory_store/manifest.h"

namespace mtm {

// The folder of a store, locked: paths, and the order of writes that keeps it whole. NewTemporary and
// ObjectPath are thread-safe; the caller makes sure that one thread at a time calls the others.
class StoreFolder {
 public:
  // As MemoryStore::Open, without loading memories.
  static absl::StatusOr<std::unique_ptr<StoreFolder>> Open(FileSystem& file_system,
                                                           const std::filesystem::path& root);

  FileSystem& file_system() const { return file_system_; }
  const std::filesystem::path& root() const { return root_; }
  const Manifest& manifest() const { return manifest_; }

  std::filesystem::path ObjectPath(std::string_view digest) const;
  std::filesystem::path NewTemporary() const;  // for a memory file; never returned before

  // Gives a finished memory file its name, durably. It goes with the next change, or the next open, if no
  // manifest comes to refer to it.
  absl::Status AdoptObject(const std::filesystem::path& temporary, const std::string& digest);

  // Makes `next` what exists, then removes memory files that it does not refer to any more. After an error
  // manifest() is what it was, whatever may be on disk.
  absl::Status ReplaceManifest(Manifest next);

 private:
  StoreFolder(FileSystem& file_system, std::filesystem::path root);

  absl::Status LoadManifest();
  void RemoveLeftovers();
  bool IsReferredTo(std::string_view digest) const;

  FileSystem& file_system_;
  const std::filesystem::path root_;
  std::unique_ptr<FileLock> lock_;
  Manifest manifest_;
  std::set<std::string> candidates_for_removal_;  // digests
};

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_STORE_FOLDER_H_
