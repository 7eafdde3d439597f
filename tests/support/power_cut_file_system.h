// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_TESTS_SUPPORT_POWER_CUT_FILE_SYSTEM_H_
#define MTM_TESTS_SUPPORT_POWER_CUT_FILE_SYSTEM_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "memory_store/file_system.h"

namespace mtm {

// What of that which was not synced is there after a power cut.
enum class Survivors {
  kNothing,
  kAll,
  kSome,     // each write, creation, renaming and removal or not, writes in part: as dice have it
  kAllTorn,  // all, but of the last write the first half
};

// A file system in memory that knows what was synced: of each file its content, of each folder which names it
// has. Much harsher than real ones, which order more than they promise. Paths are absolute. Thread-safe.
class PowerCutFileSystem : public FileSystem {
 public:
  PowerCutFileSystem();
  ~PowerCutFileSystem() override;

  // What is there after a power cut now, all of it synced.
  std::unique_ptr<PowerCutFileSystem> AfterCut(Survivors survivors, uint64_t seed) const;

  // Is called after each call that changed anything; empty: nothing.
  void OnChange(std::function<void()> call);

  // What files take of a disk of that size; beyond it there is no space left.
  void SetCapacity(uint64_t bytes);
  uint64_t used_bytes() const;

  absl::StatusOr<std::unique_ptr<File>> OpenFile(const std::filesystem::path& path) override;
  absl::StatusOr<std::unique_ptr<File>> OpenToWrite(const std::filesystem::path& path) override;
  absl::StatusOr<std::unique_ptr<File>> CreateFile(const std::filesystem::path& path) override;
  absl::Status CreateFolder(const std::filesystem::path& path) override;
  absl::StatusOr<std::vector<std::string>> ListFolder(const std::filesystem::path& path) override;
  absl::Status Rename(const std::filesystem::path& from, const std::filesystem::path& to) override;
  absl::Status Remove(const std::filesystem::path& path) override;
  absl::StatusOr<absl::Time> ModifyTime(const std::filesystem::path& path) override;
  absl::Status SyncFolder(const std::filesystem::path& path) override;
  absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::filesystem::path& path) override;

 private:
  struct Node;
  class MemoryFile;
  class MemoryLock;
  class Copier;

  // Under mutex_. Null: no such thing.
  std::shared_ptr<Node> Find(const std::filesystem::path& path) const;
  std::shared_ptr<Node> FindFolder(const std::filesystem::path& path) const;
  absl::StatusOr<std::shared_ptr<Node>> Create(const std::filesystem::path& path, std::string_view action);
  uint64_t UsedBytes(const Node& node) const;
  void Changed();  // not under mutex_

  mutable std::mutex mutex_;
  std::shared_ptr<Node> root_;
  std::set<std::string> locked_;
  uint64_t capacity_ = std::numeric_limits<uint64_t>::max();
  uint64_t n_writes_ = 0;
  std::function<void()> on_change_;
};

}  // namespace mtm

#endif  // MTM_TESTS_SUPPORT_POWER_CUT_FILE_SYSTEM_H_
