// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_MEMORY_STORE_STORE_FOLDER_H_
#define MTM_MEMORY_STORE_STORE_FOLDER_H_

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "memory_store/file_system.h"
#include "memory_store/manifest.h"
#include "memory_store/reserve_file.h"

namespace mtm {

// A finished file that waits for its name.
struct NewFile {
  std::filesystem::path temporary;
  std::filesystem::path path;
};

// The folder of a store: paths, and the order of writes that keeps it whole. Paths and manifest() are
// thread-safe; the caller makes sure that one thread at a time calls the others.
class StoreFolder {
 public:
  // As MemoryStore::Open, without looking at segments.
  static absl::StatusOr<std::unique_ptr<StoreFolder>> Open(FileSystem& file_system,
                                                           const std::filesystem::path& root, bool read_only);

  FileSystem& file_system() const { return file_system_; }
  const std::filesystem::path& root() const { return root_; }
  bool read_only() const { return lock_ == nullptr; }
  std::shared_ptr<const Manifest> manifest() const;  // never null

  std::filesystem::path SegmentPath(std::string_view digest) const;
  std::filesystem::path IndexPath(std::string_view digest) const;
  std::filesystem::path ImportsPath() const;
  std::filesystem::path NewTemporary() const;  // for a segment or an index; never returned before

  // Gives the files of a segment their names, durably. They go with the next change, or the next open, if no
  // manifest comes to refer to the segment.
  absl::Status Adopt(const std::string& digest, const std::vector<NewFile>& files);

  // Makes `next`, one generation on, what exists. After an error manifest() is what it was, whatever may be
  // on disk. A deletion may use what is reserved for it when the disk is full.
  absl::Status ReplaceManifest(Manifest next, bool is_deletion = false);

  // Segments that changes left without a version that refers to them, each returned once; to be removed.
  std::vector<std::string> TakeUnreferenced();
  // Ends a change.
  void RemoveSegments(const std::vector<std::string>& digests);

  // Takes up a manifest that another process wrote. Whether there was one; after an error manifest() is what
  // it was.
  absl::StatusOr<bool> Reload();

 private:
  StoreFolder(FileSystem& file_system, std::filesystem::path root);

  absl::Status OpenToWrite();
  absl::Status Initialize();
  absl::Status CheckNothingLost() const;
  void RemoveLeftovers();
  void SetManifest(Manifest manifest);

  FileSystem& file_system_;
  const std::filesystem::path root_;
  std::unique_ptr<FileLock> lock_;  // null: read-only
  std::unique_ptr<ReserveFile> reserve_;
  uint64_t manifest_size_ = 0;
  std::optional<std::string> line_;  // read-only: the first one of the manifest; none was read: unset

  std::set<std::string> candidates_for_removal_;  // segments
  mutable std::mutex manifest_mutex_;
  std::shared_ptr<const Manifest> manifest_ = std::make_shared<Manifest>();  // under manifest_mutex_
};

// Digests of all segments that the manifest refers to.
std::set<std::string> SegmentsOf(const Manifest& manifest);

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_STORE_FOLDER_H_
