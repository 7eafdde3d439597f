// SPDX-License-Identifier: Apache-2.0
#include "memory_store/store_folder.h"

#include <algorithm>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "memory_store/absl_view.h"
#include "memory_store/digest.h"
#include "spdlog/spdlog.h"

namespace mtm {
namespace {

constexpr char kObjects[] = "objects";
constexpr char kManifest[] = "MANIFEST";
constexpr char kObjectSuffix[] = ".mtm";
constexpr char kTemporarySuffix[] = ".tmp";
constexpr size_t kDigestDigits = 64;
constexpr size_t kRandomDigits = 32;

std::string RandomDigits() {
  std::random_device random;
  return absl::StrFormat("%08x%08x%08x%08x", random(), random(), random(), random());
}

bool IsTemporary(std::string_view file, std::string_view prefix) {
  return file.substr(0, prefix.size()) == prefix && file.size() == prefix.size() + kRandomDigits + 4 &&
         IsHex(file.substr(prefix.size(), kRandomDigits), kRandomDigits) &&
         file.substr(file.size() - 4) == kTemporarySuffix;
}

// The digest in the name of a memory file, or nothing.
std::string_view DigestOf(std::string_view file) {
  const std::string_view digest = file.substr(0, kDigestDigits);
  if (!IsHex(digest, kDigestDigits) || file.substr(digest.size()) != kObjectSuffix) return {};
  return digest;
}

void RemoveOrWarn(FileSystem& file_system, const std::filesystem::path& path) {
  if (absl::Status status = file_system.Remove(path); !status.ok() && !absl::IsNotFound(status)) {
    spdlog::warn("memory_store left a file behind, to be removed at the next start: reason=\"{}\"",
                 std::string(status.message()));
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<StoreFolder>> StoreFolder::Open(FileSystem& file_system,
                                                               const std::filesystem::path& root) {
  std::unique_ptr<StoreFolder> folder(new StoreFolder(file_system, root));
  if (absl::Status status = file_system.CreateFolder(root / kObjects); !status.ok()) return status;
  absl::StatusOr<std::unique_ptr<FileLock>> lock = file_system.Lock(root / "LOCK");
  if (!lock.ok()) return lock.status();
  folder->lock_ = *std::move(lock);
  if (absl::Status status = folder->LoadManifest(); !status.ok()) return status;
  folder->RemoveLeftovers();
  return folder;
}

StoreFolder::StoreFolder(FileSystem& file_system, std::filesystem::path root)
    : file_system_(file_system), root_(std::move(root)) {}

std::filesystem::path StoreFolder::ObjectPath(std::string_view digest) const {
  return root_ / kObjects / absl::StrCat(AbslView(digest), kObjectSuffix);
}

std::filesystem::path StoreFolder::NewTemporary() const {
  return root_ / kObjects / absl::StrCat(RandomDigits(), kTemporarySuffix);
}

absl::Status StoreFolder::AdoptObject(const std::filesystem::path& temporary, const std::string& digest) {
  if (absl::Status status = file_system_.Rename(temporary, ObjectPath(digest)); !status.ok()) return status;
  candidates_for_removal_.insert(digest);
  return file_system_.SyncFolder(root_ / kObjects);
}

absl::Status StoreFolder::ReplaceManifest(Manifest next) {
  const std::filesystem::path temporary =
      root_ / absl::StrCat(kManifest, ".", RandomDigits(), kTemporarySuffix);
  for (const auto& [name, entry] : manifest_) candidates_for_removal_.insert(entry.digest);
  if (absl::Status status = WriteManifest(file_system_, root_ / kManifest, temporary, next); !status.ok()) {
    return status;
  }
  manifest_ = std::move(next);
  for (const std::string& digest : std::exchange(candidates_for_removal_, {})) {
    if (!IsReferredTo(digest)) RemoveOrWarn(file_system_, ObjectPath(digest));
  }
  return absl::OkStatus();
}

absl::Status StoreFolder::LoadManifest() {
  absl::StatusOr<Manifest> manifest = ReadManifest(file_system_, root_ / kManifest);
  if (manifest.ok()) {
    manifest_ = *std::move(manifest);
    return absl::OkStatus();
  }
  if (!absl::IsNotFound(manifest.status())) return manifest.status();

  const absl::StatusOr<std::vector<std::string>> files = file_system_.ListFolder(root_ / kObjects);
  if (!files.ok()) return files.status();
  if (std::any_of(files->begin(), files->end(), [](const std::string& f) { return !DigestOf(f).empty(); })) {
    return absl::DataLossError(absl::StrCat((root_ / kManifest).string(),
                                            ": it is missing, but there are memories in ",
                                            (root_ / kObjects).string()));
  }
  // From now on its absence means a loss.
  if (absl::Status status = ReplaceManifest({}); !status.ok()) return status;
  const std::filesystem::path absolute = std::filesystem::absolute(root_);
  return file_system_.SyncFolder(absolute.parent_path());
}

void StoreFolder::RemoveLeftovers() {
  const absl::StatusOr<std::vector<std::string>> in_root = file_system_.ListFolder(root_);
  const absl::StatusOr<std::vector<std::string>> in_objects = file_system_.ListFolder(root_ / kObjects);
  for (const absl::Status& status : {in_root.status(), in_objects.status()}) {
    if (!status.ok()) {
      spdlog::warn("memory_store cannot look for leftovers: reason=\"{}\"", std::string(status.message()));
      return;
    }
  }
  for (const std::string& file : *in_root) {
    if (IsTemporary(file, absl::StrCat(kManifest, "."))) RemoveOrWarn(file_system_, root_ / file);
  }
  for (const std::string& file : *in_objects) {
    const std::string_view digest = DigestOf(file);
    if (IsTemporary(file, "") || (!digest.empty() && !IsReferredTo(digest))) {
      RemoveOrWarn(file_system_, root_ / kObjects / file);
    }
  }
}

bool StoreFolder::IsReferredTo(std::string_view digest) const {
  return std::any_of(manifest_.begin(), manifest_.end(),
                     [&](const auto& entry) { return entry.second.digest == digest; });
}

}  // namespace mtm
