// SPDX-License-Identifier: Apache-2.0
#include "memory_store/store_files.h"

#include <algorithm>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "memory_store/absl_view.h"
#include "memory_store/digest.h"

namespace mtm {
namespace {

constexpr std::string_view kTemporarySuffix = ".tmp";
constexpr size_t kRandomDigits = 32;
constexpr absl::Duration kImportLife = absl::Hours(24);

bool IsTemporary(std::string_view file, std::string_view prefix) {
  return file.substr(0, prefix.size()) == prefix &&
         file.size() == prefix.size() + kRandomDigits + kTemporarySuffix.size() &&
         IsHex(file.substr(prefix.size(), kRandomDigits), kRandomDigits) &&
         file.substr(file.size() - kTemporarySuffix.size()) == kTemporarySuffix;
}

bool IsPart(std::string_view file) {
  if (file == kHeaderPart) return true;
  const size_t dot = file.find('.');
  return dot != std::string_view::npos && dot > 0 && file.substr(dot) == kPartSuffix &&
         std::all_of(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(dot),
                     [](char c) { return c >= '0' && c <= '9'; });
}

// The files of an import and its folder, where it is old and nothing else lies in it.
absl::StatusOr<std::vector<std::filesystem::path>> OldImport(FileSystem& file_system,
                                                             const std::filesystem::path& folder) {
  const absl::StatusOr<std::vector<std::string>> files = file_system.ListFolder(folder);
  if (!files.ok()) return files.status();
  std::vector<std::filesystem::path> paths;
  for (const std::string& file : *files) {
    if (!IsPart(file)) return std::vector<std::filesystem::path>();
    paths.push_back(folder / file);
  }
  paths.push_back(folder);
  for (const std::filesystem::path& path : paths) {
    const absl::StatusOr<absl::Time> time = file_system.ModifyTime(path);
    if (!time.ok()) return time.status();
    if (absl::Now() - *time < kImportLife) return std::vector<std::filesystem::path>();
  }
  return paths;
}

}  // namespace

std::string TemporaryName(std::string_view prefix) {
  std::random_device random;
  return absl::StrCat(AbslView(prefix),
                      absl::StrFormat("%08x%08x%08x%08x", random(), random(), random(), random()),
                      AbslView(kTemporarySuffix));
}

std::string_view DigestOf(std::string_view file) {
  const std::string_view digest = file.substr(0, kDigestDigits);
  const std::string_view suffix = file.substr(digest.size());
  const bool is_ours = IsHex(digest, kDigestDigits) && (suffix == kSegmentSuffix || suffix == kIndexSuffix);
  return is_ours ? digest : std::string_view();
}

absl::StatusOr<std::vector<std::filesystem::path>> FindLeftovers(FileSystem& file_system,
                                                                 const std::filesystem::path& root,
                                                                 const std::set<std::string>& referenced) {
  const absl::StatusOr<std::vector<std::string>> in_root = file_system.ListFolder(root);
  if (!in_root.ok()) return in_root.status();
  const absl::StatusOr<std::vector<std::string>> in_segments = file_system.ListFolder(root / kSegmentsFolder);
  if (!in_segments.ok()) return in_segments.status();
  absl::StatusOr<std::vector<std::filesystem::path>> imports =
      FindOldImports(file_system, root / kImportsFolder, {});
  if (!imports.ok()) return imports.status();

  std::vector<std::filesystem::path> leftovers;
  for (const std::string& file : *in_root) {
    if (IsTemporary(file, "MANIFEST.")) leftovers.push_back(root / file);
  }
  for (const std::string& file : *in_segments) {
    const std::string_view digest = DigestOf(file);
    if (IsTemporary(file, "") || (!digest.empty() && referenced.count(std::string(digest)) == 0)) {
      leftovers.push_back(root / kSegmentsFolder / file);
    }
  }
  leftovers.insert(leftovers.end(), imports->begin(), imports->end());
  return leftovers;
}

absl::StatusOr<std::vector<std::filesystem::path>> FindOldImports(FileSystem& file_system,
                                                                  const std::filesystem::path& imports,
                                                                  const std::set<std::string>& in_use) {
  std::vector<std::filesystem::path> old;
  const absl::StatusOr<std::vector<std::string>> folders = file_system.ListFolder(imports);
  if (absl::IsNotFound(folders.status())) return old;
  if (!folders.ok()) return folders.status();
  for (const std::string& folder : *folders) {
    if (!IsHex(folder, kDigestDigits) || in_use.count(folder) > 0) continue;
    const absl::StatusOr<std::vector<std::filesystem::path>> paths = OldImport(file_system, imports / folder);
    if (!paths.ok()) return paths.status();
    old.insert(old.end(), paths->begin(), paths->end());
  }
  return old;
}

}  // namespace mtm
