// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "memory_store/file_system.h"

namespace mtm {
namespace {

namespace fs = std::filesystem;

// Calls again what a signal interrupted.
template <typename Call>
auto Retry(Call call) {
  decltype(call()) result;
  do {
    result = call();
  } while (result == -1 && errno == EINTR);
  return result;
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

absl::StatusOr<Descriptor> OpenDescriptor(const fs::path& path, int flags, std::string_view action) {
  constexpr mode_t kMode = 0640;
  const int fd = Retry([&] { return open(path.c_str(), flags | O_CLOEXEC, kMode); });
  if (fd < 0) return StatusFromErrno(errno, action, path);
  return Descriptor(fd);
}

class PosixMapping : public FileMapping {
 public:
  PosixMapping(void* address, size_t size) : address_(address), size_(size) {}
  ~PosixMapping() override { munmap(address_, size_); }
  std::span<const std::byte> bytes() const override {
    return {static_cast<const std::byte*>(address_), size_};
  }

 private:
  void* address_;
  size_t size_;
};

class PosixFile : public File {
 public:
  PosixFile(fs::path path, Descriptor descriptor)
      : path_(std::move(path)), descriptor_(std::move(descriptor)) {}

  absl::StatusOr<uint64_t> Size() const override {
    struct stat status;
    if (fstat(fd(), &status) != 0) return StatusFromErrno(errno, "read the size of", path_);
    return static_cast<uint64_t>(status.st_size);
  }

  absl::Status ReadAt(uint64_t offset, std::span<std::byte> out) const override {
    while (!out.empty()) {
      const ssize_t n =
          Retry([&] { return pread(fd(), out.data(), out.size(), static_cast<off_t>(offset)); });
      if (n < 0) return StatusFromErrno(errno, "read", path_);
      if (n == 0) return absl::DataLossError(absl::StrCat(path_.string(), " ends at byte ", offset));
      offset += static_cast<uint64_t>(n);
      out = out.subspan(static_cast<size_t>(n));
    }
    return absl::OkStatus();
  }

  absl::Status WriteAt(uint64_t offset, std::span<const std::byte> data) override {
    while (!data.empty()) {
      const ssize_t n =
          Retry([&] { return pwrite(fd(), data.data(), data.size(), static_cast<off_t>(offset)); });
      if (n <= 0) return StatusFromErrno(n < 0 ? errno : EIO, "write", path_);
      offset += static_cast<uint64_t>(n);
      data = data.subspan(static_cast<size_t>(n));
    }
    return absl::OkStatus();
  }

  absl::Status Allocate(uint64_t size) override {
    if (Retry([&] { return fallocate(fd(), FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(size)); }) != 0 &&
        errno != EOPNOTSUPP && errno != ENOSYS) {
      return StatusFromErrno(errno, absl::StrCat("take ", size, " bytes for"), path_);
    }
    return absl::OkStatus();
  }

  absl::Status Sync() override {
    if (Retry([&] { return fsync(fd()); }) != 0) return StatusFromErrno(errno, "fsync", path_);
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<FileMapping>> Map() const override {
    absl::StatusOr<uint64_t> size = Size();
    if (!size.ok()) return size.status();
    void* address = mmap(nullptr, *size, PROT_READ, MAP_SHARED, fd(), 0);
    if (address == MAP_FAILED) return StatusFromErrno(errno, "map", path_);
    return std::make_unique<PosixMapping>(address, *size);
  }

 private:
  int fd() const { return descriptor_.get(); }

  fs::path path_;
  Descriptor descriptor_;
};

class PosixLock : public FileLock {
 public:
  explicit PosixLock(Descriptor descriptor) : descriptor_(std::move(descriptor)) {}

 private:
  Descriptor descriptor_;  // closing it unlocks
};

class Posix : public FileSystem {
 public:
  absl::StatusOr<std::unique_ptr<File>> OpenFile(const fs::path& path) override {
    absl::StatusOr<Descriptor> descriptor = OpenDescriptor(path, O_RDONLY, "open");
    if (!descriptor.ok()) return descriptor.status();
    return std::make_unique<PosixFile>(path, *std::move(descriptor));
  }

  absl::StatusOr<std::unique_ptr<File>> OpenToWrite(const fs::path& path) override {
    absl::StatusOr<Descriptor> descriptor = OpenDescriptor(path, O_RDWR, "open");
    if (!descriptor.ok()) return descriptor.status();
    return std::make_unique<PosixFile>(path, *std::move(descriptor));
  }

  absl::StatusOr<std::unique_ptr<File>> CreateFile(const fs::path& path) override {
    absl::StatusOr<Descriptor> descriptor = OpenDescriptor(path, O_RDWR | O_CREAT | O_EXCL, "create");
    if (!descriptor.ok()) return descriptor.status();
    return std::make_unique<PosixFile>(path, *std::move(descriptor));
  }

  absl::Status CreateFolder(const fs::path& path) override {
    std::error_code error;
    fs::create_directories(path, error);
    if (error) return StatusFromErrno(error.value(), "create the folder", path);
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<std::string>> ListFolder(const fs::path& path) override {
    std::error_code error;
    std::vector<std::string> names;
    fs::directory_iterator entry(path, error);
    for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
      names.push_back(entry->path().filename().string());
    }
    if (error) return StatusFromErrno(error.value(), "list", path);
    std::sort(names.begin(), names.end());
    return names;
  }

  absl::Status Rename(const fs::path& from, const fs::path& to) override {
    if (rename(from.c_str(), to.c_str()) != 0) {
      return StatusFromErrno(errno, absl::StrCat("rename ", from.string(), " to"), to);
    }
    return absl::OkStatus();
  }

  absl::Status Remove(const fs::path& path) override {
    if (std::remove(path.c_str()) != 0) return StatusFromErrno(errno, "remove", path);
    return absl::OkStatus();
  }

  absl::StatusOr<absl::Time> ModifyTime(const fs::path& path) override {
    struct stat status;
    if (stat(path.c_str(), &status) != 0) return StatusFromErrno(errno, "read the time of", path);
    return absl::TimeFromTimespec(status.st_mtim);
  }

  absl::Status SyncFolder(const fs::path& path) override {
    absl::StatusOr<Descriptor> folder = OpenDescriptor(path, O_RDONLY | O_DIRECTORY, "open the folder");
    if (!folder.ok()) return folder.status();
    if (Retry([&] { return fsync(folder->get()); }) != 0) {
      return StatusFromErrno(errno, "fsync the folder", path);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<FileLock>> Lock(const fs::path& path) override {
    absl::StatusOr<Descriptor> descriptor = OpenDescriptor(path, O_RDWR | O_CREAT, "open");
    if (!descriptor.ok()) return descriptor.status();
    if (Retry([&] { return flock(descriptor->get(), LOCK_EX | LOCK_NB); }) != 0) {
      if (errno != EWOULDBLOCK) return StatusFromErrno(errno, "lock", path);
      return absl::FailedPreconditionError(absl::StrCat("folder ", path.parent_path().string(),
                                                        " is in use: another process or store holds ",
                                                        path.filename().string()));
    }
    return std::make_unique<PosixLock>(*std::move(descriptor));
  }
};

}  // namespace

FileSystem* PosixFileSystem() {
  static Posix* const file_system = new Posix;
  return file_system;
}

}  // namespace mtm
