// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_TESTS_FUZZ_RAM_FILE_SYSTEM_H_
#define MTM_TESTS_FUZZ_RAM_FILE_SYSTEM_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "memory_store/file_system.h"

namespace mtm {

// Files in RAM: a fuzz target makes thousands of them a second. Thread-safe.
class RamFileSystem : public FileSystem {
 public:
  void Put(const std::filesystem::path& path, std::string_view content) {
    const std::lock_guard lock(mutex_);
    files_[path.string()] = std::make_shared<std::string>(content);
  }
  std::string Get(const std::filesystem::path& path) const {
    const std::lock_guard lock(mutex_);
    return *files_.at(path.string());
  }

  absl::StatusOr<std::unique_ptr<File>> OpenFile(const std::filesystem::path& path) override {
    const std::lock_guard lock(mutex_);
    const auto found = files_.find(path.string());
    if (found == files_.end()) return absl::NotFoundError(path.string());
    return std::make_unique<RamFile>(found->second);
  }
  absl::StatusOr<std::unique_ptr<File>> OpenToWrite(const std::filesystem::path& path) override {
    return OpenFile(path);
  }
  absl::StatusOr<std::unique_ptr<File>> CreateFile(const std::filesystem::path& path) override {
    const std::lock_guard lock(mutex_);
    const auto [made, added] = files_.emplace(path.string(), std::make_shared<std::string>());
    if (!added) return absl::AlreadyExistsError(path.string());
    return std::make_unique<RamFile>(made->second);
  }
  absl::Status CreateFolder(const std::filesystem::path& path) override {
    const std::lock_guard lock(mutex_);
    for (std::filesystem::path folder = path; folder.has_relative_path(); folder = folder.parent_path()) {
      folders_.insert(folder.string());
    }
    return absl::OkStatus();
  }
  absl::StatusOr<std::vector<std::string>> ListFolder(const std::filesystem::path& path) override {
    const std::lock_guard lock(mutex_);
    if (!folders_.contains(path.string())) return absl::NotFoundError(path.string());
    std::vector<std::string> names;
    const auto add = [&](const std::filesystem::path& entry) {
      if (entry.parent_path() == path) names.push_back(entry.filename().string());
    };
    for (const auto& [file, content] : files_) add(file);
    for (const std::string& folder : folders_) add(folder);
    std::sort(names.begin(), names.end());
    return names;
  }
  absl::Status Rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    const std::lock_guard lock(mutex_);
    auto file = files_.extract(from.string());
    if (file.empty()) return absl::NotFoundError(from.string());
    files_[to.string()] = std::move(file.mapped());
    return absl::OkStatus();
  }
  absl::Status Remove(const std::filesystem::path& path) override {
    const std::lock_guard lock(mutex_);
    return files_.erase(path.string()) + folders_.erase(path.string()) != 0
               ? absl::OkStatus()
               : absl::NotFoundError(path.string());
  }
  absl::StatusOr<absl::Time> ModifyTime(const std::filesystem::path&) override { return absl::Now(); }
  absl::Status SyncFolder(const std::filesystem::path&) override { return absl::OkStatus(); }
  absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::filesystem::path&) override {
    return std::make_unique<FileLock>();
  }

 private:
  using Content = std::shared_ptr<std::string>;

  class RamMapping : public FileMapping {
   public:
    explicit RamMapping(Content content) : content_(std::move(content)) {}
    std::span<const std::byte> bytes() const override { return std::as_bytes(std::span(*content_)); }

   private:
    Content content_;
  };

  class RamFile : public File {
   public:
    explicit RamFile(Content content) : content_(std::move(content)) {}

    absl::StatusOr<uint64_t> Size() const override { return content_->size(); }
    absl::Status ReadAt(uint64_t offset, std::span<std::byte> out) const override {
      if (offset > content_->size() || out.size() > content_->size() - offset) {
        return absl::DataLossError("the file ends before that");
      }
      const auto bytes = std::as_bytes(std::span(*content_)).subspan(offset, out.size());
      std::copy(bytes.begin(), bytes.end(), out.begin());
      return absl::OkStatus();
    }
    absl::Status WriteAt(uint64_t offset, std::span<const std::byte> data) override {
      content_->resize(std::max<size_t>(content_->size(), offset + data.size()));
      const auto out = std::as_writable_bytes(std::span(*content_)).subspan(offset);
      std::copy(data.begin(), data.end(), out.begin());
      return absl::OkStatus();
    }
    absl::Status Allocate(uint64_t size) override {
      content_->resize(std::max<size_t>(content_->size(), size));
      return absl::OkStatus();
    }
    absl::Status Sync() override { return absl::OkStatus(); }
    absl::StatusOr<std::unique_ptr<FileMapping>> Map() const override {
      return std::make_unique<RamMapping>(content_);
    }

   private:
    Content content_;
  };

  mutable std::mutex mutex_;  // guards what follows
  std::map<std::string, Content> files_;
  std::set<std::string> folders_;
};

}  // namespace mtm

#endif  // MTM_TESTS_FUZZ_RAM_FILE_SYSTEM_H_
