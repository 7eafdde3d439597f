// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_MEMORY_STORE_MANIFEST_FILE_H_
#define MTM_MEMORY_STORE_MANIFEST_FILE_H_

#include <filesystem>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "memory_store/file_system.h"
#include "memory_store/manifest.h"

namespace mtm {

// NOT_FOUND: there is none. Others as DecodeManifest and the file system, with the path.
absl::StatusOr<Manifest> ReadManifest(FileSystem& file_system, const std::filesystem::path& path);

// Its first line, which has the checksum of the rest: another one where the manifest is another.
absl::StatusOr<std::string> ReadManifestLine(FileSystem& file_system, const std::filesystem::path& path);

// Replaces the file by way of `temporary`, durably. After an error either content may be there.
absl::Status WriteManifest(FileSystem& file_system, const std::filesystem::path& path,
                           const std::filesystem::path& temporary, std::string_view text);

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_MANIFEST_FILE_H_
