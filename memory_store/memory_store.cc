// SPDX-License-Identifier: Apache-2.0
#include "memory_store/memory_store.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "memory_store/file_system.h"
#include "memory_store/manifest_change.h"
#include "memory_store/memory_name.h"
#include "memory_store/store_impl.h"

namespace mtm {

absl::StatusOr<std::unique_ptr<MemoryStore>> MemoryStore::Open(const std::filesystem::path& root,
                                                               StoreOptions options,
                                                               FileSystem* file_system) {
  absl::StatusOr<std::unique_ptr<StoreFolder>> folder =
      StoreFolder::Open(file_system == nullptr ? *PosixFileSystem() : *file_system, root, options.read_only);
  if (!folder.ok()) return folder.status();
  auto impl = std::make_shared<Impl>(std::move(options), *std::move(folder));
  std::unique_ptr<MemoryStore> store(new MemoryStore(impl));
  if (absl::Status status = impl->Start(); !status.ok()) return status;
  return store;
}

MemoryStore::MemoryStore(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

MemoryStore::~MemoryStore() { impl_->Stop(); }

absl::StatusOr<std::shared_ptr<const Memory>> MemoryStore::Get(std::string_view reference) {
  return impl_->Get(reference);
}

bool MemoryStore::WouldLoad(std::string_view reference) const {
  const absl::StatusOr<FoundVersion> found = FindVersion(*impl_->catalog(), reference);
  if (!found.ok()) return false;
  const std::vector<std::string>& segments = found->version->segments;
  return impl_->table().Damage(*found->version).ok() &&
         !std::all_of(segments.begin(), segments.end(),
                      [&](const std::string& digest) { return impl_->cache().Keeps(digest); });
}

absl::Status MemoryStore::Unload(const std::string& name) {
  const std::shared_ptr<const Catalog> catalog = impl_->catalog();
  const absl::StatusOr<FoundVersion> found = FindVersion(*catalog, name);
  if (!found.ok()) return found.status();
  std::set<std::string> segments;
  for (const StoredVersion& version : found->memory->versions) {
    segments.insert(version.segments.begin(), version.segments.end());
  }
  impl_->cache().Drop(std::vector<std::string>(segments.begin(), segments.end()));
  impl_->Refresh();
  return absl::OkStatus();
}

std::shared_ptr<const Catalog> MemoryStore::catalog() const { return impl_->catalog(); }

absl::StatusOr<std::shared_ptr<const MemoryRecord>> MemoryStore::Find(std::string_view reference) const {
  return impl_->Describe(reference);
}

std::shared_ptr<void> MemoryStore::Listen(std::function<void()> listener) {
  return impl_->listeners().Add(std::move(listener));
}

void MemoryStore::SetQuotas(Quotas quotas) { impl_->SetQuotas(std::move(quotas)); }

int64_t MemoryStore::resident_bytes() const { return impl_->cache().resident_bytes(); }

std::optional<WriteResult> MemoryStore::FindWrite(const std::string& request_id) const {
  const std::shared_ptr<const Manifest> manifest = impl_->folder().manifest();
  const RememberedWrite* const write = FindRemembered(*manifest, request_id);
  if (write == nullptr) return std::nullopt;
  return WriteResult{.name = write->name, .digest = write->digest};
}

absl::Status MemoryStore::Verify(std::string_view reference, const ByteProgress& progress) {
  const absl::StatusOr<FoundVersion> found = FindVersion(*impl_->catalog(), reference);
  if (!found.ok()) return found.status();
  absl::Status result;
  int64_t bytes_before = 0;
  for (const std::string& digest : found->version->segments) {
    const auto of_all = [&](int64_t bytes) {
      return progress ? progress(bytes_before + bytes) : absl::OkStatus();
    };
    absl::Status status = impl_->VerifySegment(digest, /*compare_index=*/true, of_all);
    impl_->Refresh();
    if (absl::IsAborted(status)) {
      status = absl::AbortedError(absl::StrCat("memory '", found->name, "' was changed meanwhile"));
    }
    // The others are looked at all the same: all that is damaged is quarantined.
    if (!absl::IsDataLoss(status) && !status.ok()) return status;
    if (result.ok()) result = status;
    const std::shared_ptr<const SegmentFacts> facts = impl_->table().Find(digest).facts;
    if (facts != nullptr) bytes_before += facts->size_bytes;
  }
  if (!result.ok()) return result;
  return impl_->table().Damage(*found->version);
}

}  // namespace mtm
