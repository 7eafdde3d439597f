// SPDX-License-Identifier: Apache-2.0
// Names of the files in a store's folder (FORMAT.md), and which of them nobody needs.
#ifndef MTM_MEMORY_STORE_STORE_FILES_H_
#define MTM_MEMORY_STORE_STORE_FILES_H_

#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "memory_store/file_system.h"

namespace mtm {

inline constexpr char kSegmentsFolder[] = "segments";
inline constexpr char kImportsFolder[] = "imports";
inline constexpr char kSegmentSuffix[] = ".mtm";
inline constexpr char kIndexSuffix[] = ".idx";
inline constexpr char kPartSuffix[] = ".part";
inline constexpr char kHeaderPart[] = "header.part";

// <prefix><random>.tmp
std::string TemporaryName(std::string_view prefix);

// The digest in the name of a segment or an index, or nothing.
std::string_view DigestOf(std::string_view file);

// Temporaries, segments and indexes that are not `referenced`, and old imports: to be removed in this order.
absl::StatusOr<std::vector<std::filesystem::path>> FindLeftovers(FileSystem& file_system,
                                                                 const std::filesystem::path& root,
                                                                 const std::set<std::string>& referenced);

// Files, then the folder, of each import that nobody wrote to for a day, but for those of `in_use`.
absl::StatusOr<std::vector<std::filesystem::path>> FindOldImports(FileSystem& file_system,
                                                                  const std::filesystem::path& imports,
                                                                  const std::set<std::string>& in_use);

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_STORE_FILES_H_
