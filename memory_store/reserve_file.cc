// SPDX-License-Identifier: Apache-2.0
#include "memory_store/reserve_file.h"

#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "spdlog/spdlog.h"

namespace mtm {
namespace {

// So that it is not written anew whenever the manifest grows.
constexpr uint64_t kGranularity = 64 << 10;

}  // namespace

ReserveFile::ReserveFile(FileSystem& file_system, std::filesystem::path path)
    : file_system_(file_system), path_(std::move(path)) {
  const absl::StatusOr<std::unique_ptr<File>> file = file_system_.OpenFile(path_);
  if (file.ok()) size_ = (*file)->Size().value_or(0);
}

void ReserveFile::Ensure(uint64_t size) {
  if (size_ >= size) return;
  GiveUp();
  const uint64_t rounded = (size / kGranularity + 1) * kGranularity;
  if (absl::Status status = Make(rounded); !status.ok()) {
    spdlog::warn("memory_store has no reserve for deleting on a full disk: reason=\"{}\"",
                 std::string(status.message()));
    GiveUp();
    return;
  }
  size_ = rounded;
}

bool ReserveFile::GiveUp() {
  size_ = 0;
  return file_system_.Remove(path_).ok();
}

absl::Status ReserveFile::Make(uint64_t size) {
  const absl::StatusOr<std::unique_ptr<File>> file = file_system_.CreateFile(path_);
  if (!file.ok()) return file.status();
  return (*file)->WriteAt(0, std::vector<std::byte>(size));
}

}  // namespace mtm
