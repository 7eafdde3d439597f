// SPDX-License-Identifier: Apache-2.0
#include "memory_store/store_folder.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "memory_store/absl_view.h"
#include "memory_store/manifest_file.h"
#include "memory_store/store_files.h"
#include "spdlog/spdlog.h"

namespace mtm {
namespace {

constexpr char kManifest[] = "MANIFEST";

void RemoveOrWarn(FileSystem& file_system, const std::filesystem::path& path) {
  if (absl::Status status = file_system.Remove(path); !status.ok() && !absl::IsNotFound(status)) {
    spdlog::warn("memory_store left a file behind, to be removed at the next start: reason=\"{}\"",
                 std::string(status.message()));
  }
}

// So that what did not change is the same object, as after a change of our own.
void ShareUnchanged(const Manifest& before, Manifest& next) {
  for (auto& [name, memory] : next.memories) {
    const auto old = before.memories.find(name);
    if (old != before.memories.end() && *old->second == *memory) memory = old->second;
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<StoreFolder>> StoreFolder::Open(FileSystem& file_system,
                                                               const std::filesystem::path& root,
                                                               bool read_only) {
  std::unique_ptr<StoreFolder> folder(new StoreFolder(file_system, root));
  absl::Status status;
  if (read_only) {
    status = folder->Reload().status();
    if (absl::IsNotFound(status)) {
      if (absl::Status lost = folder->CheckNothingLost(); !lost.ok()) return lost;
      status = absl::FailedPreconditionError(absl::StrCat(
          root.string(), " is no folder of memories: it has no MANIFEST, and is opened read-only"));
    }
  } else {
    status = folder->OpenToWrite();
  }
  if (!status.ok()) return status;
  return folder;
}

StoreFolder::StoreFolder(FileSystem& file_system, std::filesystem::path root)
    : file_system_(file_system), root_(std::move(root)) {}

absl::Status StoreFolder::OpenToWrite() {
  if (absl::Status status = file_system_.CreateFolder(root_); !status.ok()) return status;
  absl::StatusOr<std::unique_ptr<FileLock>> lock = file_system_.Lock(root_ / "LOCK");
  if (!lock.ok()) return lock.status();
  lock_ = *std::move(lock);
  reserve_ = std::make_unique<ReserveFile>(file_system_, root_ / "RESERVE");
  absl::StatusOr<Manifest> manifest = ReadManifest(file_system_, root_ / kManifest);
  if (absl::IsNotFound(manifest.status())) {
    if (absl::Status status = Initialize(); !status.ok()) return status;
  } else if (!manifest.ok()) {
    return manifest.status();
  } else {
    if (absl::Status status = file_system_.CreateFolder(root_ / kSegmentsFolder); !status.ok()) return status;
    manifest_size_ = EncodeManifest(*manifest).size();
    SetManifest(*std::move(manifest));
  }
  RemoveLeftovers();
  reserve_->Ensure(2 * manifest_size_);
  return absl::OkStatus();
}

absl::Status StoreFolder::Initialize() {
  if (absl::Status status = CheckNothingLost(); !status.ok()) return status;
  if (absl::Status status = file_system_.CreateFolder(root_ / kSegmentsFolder); !status.ok()) return status;
  // From now on its absence means a loss.
  if (absl::Status status = ReplaceManifest({}); !status.ok()) return status;
  return file_system_.SyncFolder(std::filesystem::absolute(root_).parent_path());
}

absl::Status StoreFolder::CheckNothingLost() const {
  const absl::StatusOr<std::vector<std::string>> files = file_system_.ListFolder(root_ / kSegmentsFolder);
  if (absl::IsNotFound(files.status())) return absl::OkStatus();
  if (!files.ok()) return files.status();
  if (std::any_of(files->begin(), files->end(), [](const auto& file) { return !DigestOf(file).empty(); })) {
    return absl::DataLossError(absl::StrCat((root_ / kManifest).string(),
                                            ": it is missing, but there are segments in ",
                                            (root_ / kSegmentsFolder).string()));
  }
  return absl::OkStatus();
}

std::shared_ptr<const Manifest> StoreFolder::manifest() const {
  const std::lock_guard lock(manifest_mutex_);
  return manifest_;
}

void StoreFolder::SetManifest(Manifest manifest) {
  auto next = std::make_shared<const Manifest>(std::move(manifest));
  const std::lock_guard lock(manifest_mutex_);
  manifest_.swap(next);
}

std::filesystem::path StoreFolder::SegmentPath(std::string_view digest) const {
  return root_ / kSegmentsFolder / absl::StrCat(AbslView(digest), kSegmentSuffix);
}

std::filesystem::path StoreFolder::IndexPath(std::string_view digest) const {
  return root_ / kSegmentsFolder / absl::StrCat(AbslView(digest), kIndexSuffix);
}

std::filesystem::path StoreFolder::ImportsPath() const { return root_ / kImportsFolder; }

std::filesystem::path StoreFolder::NewTemporary() const {
  return root_ / kSegmentsFolder / TemporaryName("");
}

absl::Status StoreFolder::Adopt(const std::string& digest, const std::vector<NewFile>& files) {
  candidates_for_removal_.insert(digest);
  for (const NewFile& file : files) {
    if (absl::Status status = file_system_.Rename(file.temporary, file.path); !status.ok()) return status;
  }
  return file_system_.SyncFolder(root_ / kSegmentsFolder);
}

absl::Status StoreFolder::ReplaceManifest(Manifest next, bool is_deletion) {
  const std::shared_ptr<const Manifest> before = manifest();
  next.generation = before->generation + 1;
  const std::string text = EncodeManifest(next);
  const auto write = [&] {
    return WriteManifest(file_system_, root_ / kManifest, root_ / TemporaryName("MANIFEST."), text);
  };
  absl::Status status = write();
  if (is_deletion && absl::IsResourceExhausted(status) && reserve_->GiveUp()) status = write();
  if (!status.ok()) return status;

  for (const auto& [name, memory] : before->memories) {
    const auto after = next.memories.find(name);
    if (after != next.memories.end() && after->second == memory) continue;
    for (const StoredVersion& version : memory->versions) {
      candidates_for_removal_.insert(version.segments.begin(), version.segments.end());
    }
  }
  manifest_size_ = text.size();
  SetManifest(std::move(next));
  return absl::OkStatus();
}

std::vector<std::string> StoreFolder::TakeUnreferenced() {
  std::set<std::string> candidates = std::exchange(candidates_for_removal_, {});
  if (candidates.empty()) return {};
  const std::shared_ptr<const Manifest> now = manifest();
  for (const auto& [name, memory] : now->memories) {
    for (const StoredVersion& version : memory->versions) {
      for (const std::string& segment : version.segments) candidates.erase(segment);
    }
  }
  return {candidates.begin(), candidates.end()};
}

void StoreFolder::RemoveSegments(const std::vector<std::string>& digests) {
  for (const std::string& digest : digests) {
    RemoveOrWarn(file_system_, SegmentPath(digest));
    RemoveOrWarn(file_system_, IndexPath(digest));
  }
  reserve_->Ensure(2 * manifest_size_);
}

absl::StatusOr<bool> StoreFolder::Reload() {
  const std::filesystem::path path = root_ / kManifest;
  const absl::StatusOr<std::string> line = ReadManifestLine(file_system_, path);
  if (!line.ok()) return line.status();
  if (*line == line_) return false;
  absl::StatusOr<Manifest> manifest = ReadManifest(file_system_, path);
  if (!manifest.ok()) return manifest.status();
  ShareUnchanged(*this->manifest(), *manifest);
  SetManifest(*std::move(manifest));
  line_ = *line;  // where it changed in between, the next call finds another one
  return true;
}

void StoreFolder::RemoveLeftovers() {
  const absl::StatusOr<std::vector<std::filesystem::path>> leftovers =
      FindLeftovers(file_system_, root_, SegmentsOf(*manifest()));
  if (!leftovers.ok()) {
    spdlog::warn("memory_store cannot look for leftovers: reason=\"{}\"",
                 std::string(leftovers.status().message()));
    return;
  }
  for (const std::filesystem::path& path : *leftovers) RemoveOrWarn(file_system_, path);
}

std::set<std::string> SegmentsOf(const Manifest& manifest) {
  std::set<std::string> segments;
  for (const auto& [name, memory] : manifest.memories) {
    for (const StoredVersion& version : memory->versions) {
      segments.insert(version.segments.begin(), version.segments.end());
    }
  }
  return segments;
}

}  // namespace mtm
