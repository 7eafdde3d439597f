// SPDX-License-Identifier: Apache-2.0
#include <utility>

#include "absl/strings/str_cat.h"
#include "memory_store/store_impl.h"

namespace mtm {

absl::StatusOr<std::shared_ptr<const SegmentIndex>> MemoryStore::Impl::BuildIndex(
    const Segment& segment, NewFile& file, const IndexProgress& progress) {
  FileSystem& file_system = folder_->file_system();
  file = {.temporary = folder_->NewTemporary(), .path = folder_->IndexPath(segment.digest())};
  absl::Status status = SegmentIndex::Build(file_system, file.temporary, segment, options_.index, progress);
  if (!status.ok()) return status;
  absl::StatusOr<std::shared_ptr<const SegmentIndex>> index =
      SegmentIndex::Load(file_system, file.temporary, segment);
  if (!index.ok()) RemoveTemporary(file);
  return index;
}

void MemoryStore::Impl::RemoveTemporary(const NewFile& file) {
  folder_->file_system().Remove(file.temporary).IgnoreError();  // the next open removes what is left
}

absl::StatusOr<NewSegment> MemoryStore::Impl::Prepare(std::shared_ptr<const Segment> segment,
                                                      const std::filesystem::path& file,
                                                      const IndexProgress& progress) {
  NewSegment prepared{.segment = std::move(segment), .files = {}};
  prepared.files.push_back({.temporary = file, .path = folder_->SegmentPath(prepared.segment->digest())});
  if (!WantsIndex(*prepared.segment)) return prepared;
  NewFile index_file;
  const absl::StatusOr<std::shared_ptr<const SegmentIndex>> index =
      BuildIndex(*prepared.segment, index_file, progress);
  if (!index.ok()) return index.status();
  prepared.segment = prepared.segment->WithIndex(*index);
  prepared.files.push_back(index_file);
  return prepared;
}

absl::Status MemoryStore::Impl::RebuildIndex(const std::shared_ptr<const Segment>& segment,
                                             const IndexProgress& progress) {
  if (!WantsIndex(*segment)) return absl::OkStatus();
  const std::string& digest = segment->digest();
  NewFile file;
  const absl::StatusOr<std::shared_ptr<const SegmentIndex>> index = BuildIndex(*segment, file, progress);
  if (!index.ok()) return index.status();
  {
    const std::lock_guard lock(change_mutex_);
    absl::Status status =
        SegmentsOf(*folder_->manifest()).count(digest) > 0
            ? folder_->Adopt(digest, {file})
            : absl::AbortedError(absl::StrCat("segment ", digest, " was removed meanwhile"));
    if (!status.ok()) {
      RemoveTemporary(file);
      return status;
    }
    const std::shared_ptr<const Segment> indexed = cache_.Put(segment->WithIndex(*index));
    table_.SetLoaded(*indexed);
  }
  Refresh();
  return absl::OkStatus();
}

}  // namespace mtm
