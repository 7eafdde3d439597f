// SPDX-License-Identifier: Apache-2.0
// What the fuzz targets share. Each is one file with LLVMFuzzerTestOneInput; DEVELOPMENT.md says how they are
// run.
#ifndef MTM_TESTS_FUZZ_FUZZ_H_
#define MTM_TESTS_FUZZ_FUZZ_H_

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace mtm {

inline std::string_view Text(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

inline std::span<const std::byte> Bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// What must hold for every input.
inline void Require(bool holds) {
  if (!holds) std::abort();
}

// A file without a folder, for what reads by path.
class AnonymousFile {
 public:
  AnonymousFile() : fd_(memfd_create("fuzz", MFD_CLOEXEC)), path_("/proc/self/fd/" + std::to_string(fd_)) {
    Require(fd_ >= 0);
  }
  ~AnonymousFile() { close(fd_); }
  AnonymousFile(const AnonymousFile&) = delete;
  AnonymousFile& operator=(const AnonymousFile&) = delete;

  void Write(std::string_view content) {
    Require(ftruncate(fd_, 0) == 0);
    Require(pwrite(fd_, content.data(), content.size(), 0) == static_cast<ssize_t>(content.size()));
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  int fd_;
  std::filesystem::path path_;
};

}  // namespace mtm

#endif  // MTM_TESTS_FUZZ_FUZZ_H_
