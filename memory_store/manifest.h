// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_MEMORY_STORE_MANIFEST_H_
#define MTM_MEMORY_STORE_MANIFEST_H_

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "memory_store/file_system.h"

namespace mtm {

inline constexpr int64_t kManifestVersion = 1;

struct ManifestEntry {
  std::string digest;
  absl::Time create_time;  // whole microseconds
  int64_t size_bytes = 0;

  friend bool operator==(const ManifestEntry&, const ManifestEntry&) = default;
};

// Which memories exist, by name.
using Manifest = std::map<std::string, ManifestEntry>;

std::string EncodeManifest(const Manifest& manifest);

// DATA_LOSS: damaged, with what; FAILED_PRECONDITION: of a newer version.
absl::StatusOr<Manifest> DecodeManifest(std::string_view text);

// NOT_FOUND: there is none. Others as DecodeManifest and the file system, with the path.
absl::StatusOr<Manifest> ReadManifest(FileSystem& file_system, const std::filesystem::path& path);

// Replaces the file by way of `temporary`, durably. After an error either content may be there.
absl::Status WriteManifest(FileSystem& file_system, const std::filesystem::path& path,
                           const std::filesystem::path& temporary, const Manifest& manifest);

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_MANIFEST_H_
