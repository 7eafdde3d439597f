// SPDX-License-Identifier: Apache-2.0
#include "memory_store/memory_store.h"

#include <map>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "memory_store/file_system.h"
#include "memory_store/memory_file.h"
#include "memory_store/memory_file_writer.h"
#include "memory_store/memory_name.h"
#include "memory_store/store_folder.h"
#include "spdlog/spdlog.h"

namespace mtm {
namespace {

using SharedFile = std::shared_ptr<const Memory::File>;

struct Entry {
  std::string digest;
  SharedFile file;                       // null where damaged
  std::shared_ptr<const Memory> memory;  // null where damaged
  absl::Status damage;
};

using Snapshot = std::map<std::string, Entry>;

absl::Status UnknownName(const std::string& name, const Snapshot& snapshot) {
  std::vector<std::string> names;
  for (const auto& [other, entry] : snapshot) names.push_back(other);
  const std::vector<std::string> close = CloseNames(name, names);
  return absl::NotFoundError(absl::StrCat(
      "no memory '", name, "'",
      close.empty() ? "" : absl::StrCat("; did you mean '", absl::StrJoin(close, "', '"), "'?")));
}

// The entry that a reference is to.
absl::StatusOr<Snapshot::const_iterator> Find(std::string_view reference, const Snapshot& snapshot) {
  const absl::StatusOr<MemoryReference> parsed = ParseMemoryReference(reference);
  if (!parsed.ok()) return parsed.status();
  const auto found = snapshot.find(parsed->name);
  if (found == snapshot.end()) return UnknownName(parsed->name, snapshot);
  if (found->second.digest.compare(0, parsed->digest.size(), parsed->digest) != 0) {
    return absl::NotFoundError(absl::StrCat("memory '", parsed->name, "' has no version ", parsed->digest,
                                            "; its current one is ", found->second.digest));
  }
  return found;
}

Entry MakeEntry(const std::string& name, const ManifestEntry& entry, SharedFile file) {
  MemoryInfo info{.name = name,
                  .digest = entry.digest,
                  .spec = file->layout.spec,
                  .size_bytes = static_cast<int64_t>(file->layout.file_size()),
                  .create_time = entry.create_time};
  return {.digest = entry.digest,
          .file = file,
          .memory = std::make_shared<const Memory>(std::move(info), file),
          .damage = absl::OkStatus()};
}

// The file that names of this digest share, or null.
SharedFile FileOf(const std::string& digest, const Snapshot& snapshot) {
  for (const auto& [name, entry] : snapshot) {
    if (entry.digest == digest && entry.file != nullptr) return entry.file;
  }
  return nullptr;
}

}  // namespace

// Readers take a snapshot and never wait for the disk; changes go one after the other.
class MemoryStore::Impl {
 public:
  explicit Impl(std::unique_ptr<StoreFolder> folder) : folder_(std::move(folder)) {}

  void LoadAll();

  std::shared_ptr<const Snapshot> snapshot() const {
    const std::lock_guard lock(snapshot_mutex_);
    return snapshot_;
  }

  absl::StatusOr<std::unique_ptr<MemoryFileWriter>> Create(const std::string& name, MemorySpec spec);
  absl::StatusOr<std::shared_ptr<const Memory>> Commit(const std::string& name, MemoryFileWriter& writer);
  absl::Status Delete(std::string_view reference);

 private:
  absl::Status CheckFree(const std::string& name) const;
  void Publish(Snapshot next);

  // Of std, not abseil: ThreadSanitizer does not see into a prebuilt abseil. change_mutex_ is taken first.
  mutable std::mutex change_mutex_;
  mutable std::mutex snapshot_mutex_;
  std::unique_ptr<StoreFolder> folder_;                                      // changed under change_mutex_
  std::shared_ptr<const Snapshot> snapshot_ = std::make_shared<Snapshot>();  // under snapshot_mutex_
};

struct MemoryWriter::Impl {
  std::shared_ptr<MemoryStore::Impl> store;
  std::string name;
  std::unique_ptr<MemoryFileWriter> file;
};

void MemoryStore::Impl::LoadAll() {
  const std::lock_guard lock(change_mutex_);
  Snapshot loaded;
  std::map<std::string, SharedFile> files;  // by digest
  for (const auto& [name, entry] : folder_->manifest()) {
    absl::StatusOr<SharedFile> file = files[entry.digest];
    if (*file == nullptr) {
      file = OpenMemoryFile(folder_->file_system(), folder_->ObjectPath(entry.digest), entry.digest,
                            Verify::kBlocks);
    }
    if (file.ok()) {
      files[entry.digest] = *file;
      loaded[name] = MakeEntry(name, entry, *std::move(file));
      continue;
    }
    spdlog::error("memory is damaged and not served: name={} reason=\"{}\"", name,
                  std::string(file.status().message()));
    loaded[name] = {.digest = entry.digest, .file = nullptr, .memory = nullptr, .damage = file.status()};
  }
  Publish(std::move(loaded));
}

absl::StatusOr<std::unique_ptr<MemoryFileWriter>> MemoryStore::Impl::Create(const std::string& name,
                                                                            MemorySpec spec) {
  if (absl::Status status = CheckMemoryName(name); !status.ok()) return status;
  if (absl::Status status = CheckFree(name); !status.ok()) return status;
  return MemoryFileWriter::Create(folder_->file_system(), folder_->NewTemporary(), std::move(spec));
}

absl::StatusOr<std::shared_ptr<const Memory>> MemoryStore::Impl::Commit(const std::string& name,
                                                                        MemoryFileWriter& writer) {
  const absl::StatusOr<std::string> digest = writer.Finish();
  if (!digest.ok()) return digest.status();
  const std::lock_guard lock(change_mutex_);
  if (absl::Status status = CheckFree(name); !status.ok()) return status;

  // Only of a name that exists: a deleted memory that somebody holds has its file no longer in the folder.
  absl::StatusOr<SharedFile> file = FileOf(*digest, *snapshot());
  if (*file == nullptr) {
    if (absl::Status status = folder_->AdoptObject(writer.path(), *digest); !status.ok()) return status;
    writer.Release();
    file = OpenMemoryFile(folder_->file_system(), folder_->ObjectPath(*digest), *digest, Verify::kHead);
    if (!file.ok()) return file.status();
  }
  Manifest manifest = folder_->manifest();
  const ManifestEntry& entry =
      manifest[name] = {.digest = *digest,
                        .create_time = absl::FromUnixMicros(absl::ToUnixMicros(absl::Now())),
                        .size_bytes = static_cast<int64_t>((*file)->layout.file_size())};
  const Entry made = MakeEntry(name, entry, *file);
  if (absl::Status status = folder_->ReplaceManifest(manifest); !status.ok()) return status;

  Snapshot next = *snapshot();
  next[name] = made;
  // The same content written anew mends what was damaged under other names.
  for (auto& [other, other_entry] : next) {
    if (other_entry.digest == *digest && other_entry.memory == nullptr) {
      other_entry = MakeEntry(other, manifest[other], *file);
    }
  }
  Publish(std::move(next));
  return made.memory;
}

absl::Status MemoryStore::Impl::Delete(std::string_view reference) {
  const std::lock_guard lock(change_mutex_);
  Snapshot next = *snapshot();
  const absl::StatusOr<Snapshot::const_iterator> found = Find(reference, next);
  if (!found.ok()) return found.status();
  Manifest manifest = folder_->manifest();
  manifest.erase((*found)->first);
  if (absl::Status status = folder_->ReplaceManifest(std::move(manifest)); !status.ok()) return status;
  next.erase(*found);
  Publish(std::move(next));
  return absl::OkStatus();
}

absl::Status MemoryStore::Impl::CheckFree(const std::string& name) const {
  const std::shared_ptr<const Snapshot> current = snapshot();
  const auto found = current->find(name);
  if (found == current->end()) return absl::OkStatus();
  return absl::AlreadyExistsError(absl::StrCat("memory '", name, "' exists already, with digest ",
                                               found->second.digest,
                                               found->second.memory == nullptr ? " (damaged)" : ""));
}

void MemoryStore::Impl::Publish(Snapshot next) {
  auto published = std::make_shared<const Snapshot>(std::move(next));
  const std::lock_guard lock(snapshot_mutex_);
  snapshot_.swap(published);
}

absl::StatusOr<std::unique_ptr<MemoryStore>> MemoryStore::Open(const std::filesystem::path& root,
                                                               FileSystem* file_system) {
  absl::StatusOr<std::unique_ptr<StoreFolder>> folder =
      StoreFolder::Open(file_system == nullptr ? *PosixFileSystem() : *file_system, root);
  if (!folder.ok()) return folder.status();
  auto impl = std::make_shared<Impl>(*std::move(folder));
  impl->LoadAll();
  return std::unique_ptr<MemoryStore>(new MemoryStore(std::move(impl)));
}

MemoryStore::MemoryStore(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

MemoryStore::~MemoryStore() = default;

absl::StatusOr<std::shared_ptr<const Memory>> MemoryStore::Get(std::string_view reference) const {
  const std::shared_ptr<const Snapshot> snapshot = impl_->snapshot();
  const absl::StatusOr<Snapshot::const_iterator> found = Find(reference, *snapshot);
  if (!found.ok()) return found.status();
  const auto& [name, entry] = **found;
  if (entry.memory != nullptr) return entry.memory;
  const bool newer = absl::IsFailedPrecondition(entry.damage);
  return absl::Status(newer ? absl::StatusCode::kFailedPrecondition : absl::StatusCode::kDataLoss,
                      absl::StrCat("memory '", name, "' cannot be served: ", entry.damage.message()));
}

std::vector<MemoryInfo> MemoryStore::List() const {
  std::vector<MemoryInfo> infos;
  for (const auto& [name, entry] : *impl_->snapshot()) {
    if (entry.memory != nullptr) infos.push_back(entry.memory->info());
  }
  return infos;
}

std::vector<MemoryStore::Damaged> MemoryStore::ListDamaged() const {
  std::vector<Damaged> damaged;
  for (const auto& [name, entry] : *impl_->snapshot()) {
    if (entry.memory == nullptr) damaged.push_back({name, std::string(entry.damage.message())});
  }
  return damaged;
}

absl::StatusOr<std::unique_ptr<MemoryWriter>> MemoryStore::Create(std::string_view name, MemorySpec spec) {
  absl::StatusOr<std::unique_ptr<MemoryFileWriter>> file = impl_->Create(std::string(name), std::move(spec));
  if (!file.ok()) return file.status();
  return std::unique_ptr<MemoryWriter>(new MemoryWriter(std::make_unique<MemoryWriter::Impl>(
      MemoryWriter::Impl{.store = impl_, .name = std::string(name), .file = *std::move(file)})));
}

absl::Status MemoryStore::Delete(std::string_view reference) { return impl_->Delete(reference); }

MemoryWriter::MemoryWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

MemoryWriter::~MemoryWriter() = default;

absl::Status MemoryWriter::BeginWindow(std::span<const int32_t> tokens) {
  return impl_->file->BeginWindow(tokens);
}

absl::Status MemoryWriter::Write(int layer, int head, std::span<const float> keys,
                                 std::span<const float> values) {
  return impl_->file->Write(layer, head, keys, values);
}

absl::StatusOr<std::shared_ptr<const Memory>> MemoryWriter::Commit() {
  return impl_->store->Commit(impl_->name, *impl_->file);
}

}  // namespace mtm
