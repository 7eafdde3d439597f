// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_TESTS_SUPPORT_FAULTY_FILE_SYSTEM_H_
#define MTM_TESTS_SUPPORT_FAULTY_FILE_SYSTEM_H_

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "memory_store/file_system.h"

namespace mtm {

enum class Fault {
  kIoError,     // EIO, nothing done
  kDiskFull,    // ENOSPC, nothing done
  kShortWrite,  // ENOSPC after half of a write; elsewhere as kDiskFull
  kErrorAfter,  // done, and EIO reported
};

// A file system of which the n-th call after Arm fails, and with `sticky` every later one too. Thread-safe.
class FaultyFileSystem : public FileSystem {
 public:
  explicit FaultyFileSystem(FileSystem& base) : base_(base) {}

  void Arm(int n, Fault fault, bool sticky) {
    fault_ = fault;
    sticky_ = sticky;
    n_failed_ = 0;
    left_ = n;
  }
  void Disarm() { left_ = 0; }
  int n_failed() const { return n_failed_; }

  absl::StatusOr<std::unique_ptr<File>> OpenFile(const std::filesystem::path& path) override {
    return WrapFile(Call("open", path, [&] { return base_.OpenFile(path); }), path);
  }
  absl::StatusOr<std::unique_ptr<File>> OpenToWrite(const std::filesystem::path& path) override {
    return WrapFile(Call("open", path, [&] { return base_.OpenToWrite(path); }), path);
  }
  absl::StatusOr<std::unique_ptr<File>> CreateFile(const std::filesystem::path& path) override {
    return WrapFile(Call("create", path, [&] { return base_.CreateFile(path); }), path);
  }
  absl::Status CreateFolder(const std::filesystem::path& path) override {
    return Call("create the folder", path, [&] { return base_.CreateFolder(path); });
  }
  absl::StatusOr<std::vector<std::string>> ListFolder(const std::filesystem::path& path) override {
    return Call("list", path, [&] { return base_.ListFolder(path); });
  }
  absl::Status Rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    return Call("rename", to, [&] { return base_.Rename(from, to); });
  }
  absl::Status Remove(const std::filesystem::path& path) override {
    return Call("remove", path, [&] { return base_.Remove(path); });
  }
  absl::StatusOr<absl::Time> ModifyTime(const std::filesystem::path& path) override {
    return Call("read the time of", path, [&] { return base_.ModifyTime(path); });
  }
  absl::Status SyncFolder(const std::filesystem::path& path) override {
    return Call("fsync the folder", path, [&] { return base_.SyncFolder(path); });
  }
  absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::filesystem::path& path) override {
    return Call("lock", path, [&] { return base_.Lock(path); });
  }

 private:
  class FaultyFile : public File {
   public:
    FaultyFile(FaultyFileSystem& parent, std::filesystem::path path, std::unique_ptr<File> file)
        : parent_(parent), path_(std::move(path)), file_(std::move(file)) {}

    absl::StatusOr<uint64_t> Size() const override {
      return parent_.Call("read the size of", path_, [&] { return file_->Size(); });
    }
    absl::Status ReadAt(uint64_t offset, std::span<std::byte> out) const override {
      return parent_.Call("read", path_, [&] { return file_->ReadAt(offset, out); });
    }
    absl::Status WriteAt(uint64_t offset, std::span<const std::byte> data) override {
      const int before = parent_.n_failed();
      const absl::Status status = parent_.Call("write", path_, [&] { return file_->WriteAt(offset, data); });
      if (parent_.n_failed() != before && parent_.fault_ == Fault::kShortWrite) {
        file_->WriteAt(offset, data.first(data.size() / 2)).IgnoreError();
      }
      return status;
    }
    absl::Status Allocate(uint64_t size) override {
      return parent_.Call("allocate", path_, [&] { return file_->Allocate(size); });
    }
    absl::Status Sync() override {
      return parent_.Call("fsync", path_, [&] { return file_->Sync(); });
    }
    absl::StatusOr<std::unique_ptr<FileMapping>> Map() const override {
      return parent_.Call("map", path_, [&] { return file_->Map(); });
    }

   private:
    FaultyFileSystem& parent_;
    const std::filesystem::path path_;
    const std::unique_ptr<File> file_;
  };

  absl::StatusOr<std::unique_ptr<File>> WrapFile(absl::StatusOr<std::unique_ptr<File>> file,
                                                 const std::filesystem::path& path) {
    if (!file.ok()) return file;
    return std::make_unique<FaultyFile>(*this, path, *std::move(file));
  }

  bool MustFail() {
    if (left_ <= 0) return false;
    if (left_ > 1) {
      --left_;
      return false;
    }
    if (!sticky_) left_ = 0;
    ++n_failed_;
    return true;
  }

  template <typename Operation>
  auto Call(std::string_view action, const std::filesystem::path& path, Operation operation)
      -> decltype(operation()) {
    if (!MustFail()) return operation();
    if (fault_ == Fault::kErrorAfter) (void)operation();
    const bool is_io_error = fault_ == Fault::kIoError || fault_ == Fault::kErrorAfter;
    return StatusFromErrno(is_io_error ? EIO : ENOSPC, action, path);
  }

  FileSystem& base_;
  Fault fault_ = Fault::kIoError;
  bool sticky_ = false;
  std::atomic<int> left_ = 0;  // the call that fails, counted from 1; 0: none
  std::atomic<int> n_failed_ = 0;
};

}  // namespace mtm

#endif  // MTM_TESTS_SUPPORT_FAULTY_FILE_SYSTEM_H_
