// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "memory_store/store_impl.h"
#include "spdlog/spdlog.h"

namespace mtm {

absl::Status AboutVersion(const FoundVersion& found, const absl::Status& status) {
  return absl::Status(status.code(),
                      absl::StrCat("memory '", found.name, "', version ", found.version->digest.substr(0, 8),
                                   ", cannot be served: ", status.message()));
}

std::shared_ptr<const Memory> MemoryOf(const std::string& name, const StoredVersion& version,
                                       std::vector<std::shared_ptr<const Segment>> segments) {
  MemoryInfo info{.name = name,
                  .digest = version.digest,
                  .source_digest = version.source_digest,
                  .spec = segments[0]->spec(),
                  .n_tokens = version.n_tokens,
                  .size_bytes = version.size_bytes,
                  .create_time = version.create_time};
  for (const std::shared_ptr<const Segment>& segment : segments) {
    if (segment->index() == nullptr) continue;
    info.n_indexed += segment->n_tokens();
    info.index_recall = std::min(info.index_recall, segment->index()->recall());
  }
  return std::make_shared<const Memory>(std::move(info), std::move(segments));
}

absl::StatusOr<std::shared_ptr<const Memory>> MemoryStore::Impl::Get(std::string_view reference) {
  for (;;) {
    const absl::StatusOr<FoundVersion> found = FindVersion(*catalog(), reference);
    if (!found.ok()) return found.status();
    absl::StatusOr<std::vector<std::shared_ptr<const Segment>>> segments = LoadAll(*found->version);
    Refresh();
    if (segments.ok()) return MemoryOf(found->name, *found->version, *std::move(segments));
    if (!absl::IsAborted(segments.status())) return AboutVersion(*found, segments.status());
  }
}

absl::StatusOr<std::vector<std::shared_ptr<const Segment>>> MemoryStore::Impl::LoadAll(
    const StoredVersion& version) {
  if (absl::Status damage = table_.Damage(version); !damage.ok()) return damage;
  std::vector<SegmentCache::Wanted> wanted;
  for (const std::string& digest : version.segments) {
    const absl::StatusOr<std::shared_ptr<const SegmentFacts>> facts = table_.ReadHead(digest);
    if (!facts.ok()) return facts.status();
    wanted.push_back({.digest = digest, .size_bytes = (*facts)->size_bytes});
  }
  return cache_.Get(wanted);
}

absl::StatusOr<std::shared_ptr<const Segment>> MemoryStore::Impl::Load(const std::string& digest) {
  const uint64_t stamp = table_.Find(digest).stamp;
  FileSystem& file_system = folder_->file_system();
  absl::StatusOr<std::shared_ptr<const Segment>> loaded =
      Segment::Load(file_system, folder_->SegmentPath(digest), digest);
  if (!loaded.ok()) return SegmentError(digest, stamp, loaded.status());
  std::shared_ptr<const Segment> segment = *std::move(loaded);
  if (WantsIndex(*segment)) {
    const absl::StatusOr<std::shared_ptr<const SegmentIndex>> index =
        SegmentIndex::Load(file_system, folder_->IndexPath(digest), *segment);
    if (index.ok()) {
      segment = segment->WithIndex(*index);
    } else {
      spdlog::warn("segment has no index and is searched exactly: reason=\"{}\"",
                   std::string(index.status().message()));
    }
  }
  if (table_.Find(digest).stamp != stamp) return absl::AbortedError("the segment was changed meanwhile");
  table_.SetLoaded(*segment);
  return segment;
}

absl::StatusOr<std::shared_ptr<const MemoryRecord>> MemoryStore::Impl::Describe(
    std::string_view reference) const {
  const std::shared_ptr<const Catalog> all = catalog();
  const absl::StatusOr<FoundVersion> found = FindVersion(*all, reference);
  if (!found.ok()) return found.status();
  if (found->is_current()) return all->at(found->name);
  return mtm::Describe(found->name, found->memory, *found->version, table_, cache_);
}

absl::Status MemoryStore::Impl::SegmentError(const std::string& digest, uint64_t stamp,
                                             const absl::Status& status) {
  if (options_.read_only) {
    // The file may be gone because the manifest is another.
    if (absl::Status changes = TakeUpChanges(); !changes.ok()) return changes;
  }
  const absl::Status error = table_.SetError(digest, stamp, status);
  if (!table_.Find(digest).damage.ok()) cache_.Drop({{digest}});
  return error;
}

absl::Status MemoryStore::Impl::VerifySegment(const std::string& digest, bool compare_index,
                                              const ByteProgress& progress) {
  const uint64_t stamp = table_.Find(digest).stamp;
  FileSystem& file_system = folder_->file_system();
  const std::filesystem::path path = folder_->SegmentPath(digest);
  // All is read twice; `progress` hears of each byte once.
  int64_t bytes_before = 0;
  const ByteProgress half = [&](int64_t bytes) {
    return progress ? progress((bytes_before + bytes) / 2) : absl::OkStatus();
  };
  const absl::StatusOr<std::shared_ptr<const Segment>> segment =
      Segment::Load(file_system, path, digest, half);
  if (!segment.ok()) return SegmentError(digest, stamp, segment.status());
  bytes_before = (*segment)->size_bytes();
  absl::Status status = WithPath((*segment)->VerifyWindows(half), path);
  if (!status.ok()) return SegmentError(digest, stamp, status);
  if (status = table_.SetGood(digest, stamp); !status.ok()) return status;

  const std::filesystem::path index_path = folder_->IndexPath(digest);
  if (absl::IsNotFound(file_system.OpenFile(index_path).status())) return absl::OkStatus();
  const absl::StatusOr<std::shared_ptr<const SegmentIndex>> index =
      SegmentIndex::Load(file_system, index_path, **segment);
  status = index.status();
  if (index.ok() && compare_index) {
    // No more bytes to read, but it may be cancelled.
    const auto go_on = [&](double) { return half(bytes_before); };
    status = WithPath((*index)->Verify(**segment, go_on), index_path);
  }
  if (absl::IsDataLoss(status)) {
    // It can be made anew; without it the segment is searched exactly.
    spdlog::error("index is damaged and not used: reason=\"{}\"", std::string(status.message()));
    const std::lock_guard lock(change_mutex_);
    if (!options_.read_only) file_system.Remove(index_path).IgnoreError();
    table_.SetLoaded(**segment);
    if (cache_.Keeps(digest)) cache_.Put(*segment);
  }
  return status;
}

}  // namespace mtm
