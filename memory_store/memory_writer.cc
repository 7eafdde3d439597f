// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "memory_store/manifest_change.h"
#include "memory_store/memory_store.h"
#include "memory_store/quota.h"
#include "memory_store/segment_layout.h"
#include "memory_store/segment_writer.h"
#include "memory_store/store_impl.h"

namespace mtm {

struct MemoryWriter::Impl {
  std::shared_ptr<MemoryStore::Impl> store;
  VersionDraft draft;                      // without the new segment
  size_t position = 0;                     // where the new segment goes in draft.segments
  std::unique_ptr<SegmentWriter> segment;  // null: none
  bool committed = false;

  absl::Status CheckSegment() const {
    if (segment != nullptr) return absl::OkStatus();
    return absl::InvalidArgumentError("window: more than were planned, which is none");
  }
};

namespace {

// A version that has the segments kept and one with the planned windows, as far as quotas are concerned.
StoredVersion Plan(std::span<const std::shared_ptr<const Segment>> kept, const MemorySpec& spec,
                   const std::vector<PlannedWindow>& windows) {
  StoredVersion version;
  for (const std::shared_ptr<const Segment>& segment : kept) {
    version.n_tokens += segment->n_tokens();
    version.size_bytes += segment->size_bytes();
  }
  if (windows.empty()) return version;
  std::vector<MemoryWindow> laid_out;
  for (const PlannedWindow& window : windows) {
    laid_out.push_back({.n_tokens = window.n_tokens, .digest = "", .source = window.source});
    version.n_tokens += window.n_tokens;
  }
  version.size_bytes += static_cast<int64_t>(LayOut(spec, std::move(laid_out)).file_size());
  return version;
}

}  // namespace

absl::StatusOr<std::unique_ptr<MemoryWriter>> MemoryStore::Impl::BeginVersion(
    VersionDraft draft, size_t position, const MemorySpec& spec, const std::vector<PlannedWindow>& windows) {
  if (absl::Status status = CheckWritable(); !status.ok()) return status;
  // What would fail at the end fails now, before the work; what changes meanwhile is looked at again then.
  const std::shared_ptr<const Manifest> manifest = folder_->manifest();
  absl::StatusOr<StoredMemory> before = MemoryBefore(draft, *manifest);
  if (!before.ok()) return before.status();
  std::unique_ptr<SegmentWriter> segment;
  if (!windows.empty() || draft.segments.empty()) {
    absl::StatusOr<std::unique_ptr<SegmentWriter>> created =
        SegmentWriter::Create(folder_->file_system(), folder_->NewTemporary(), spec, windows);
    if (!created.ok()) return created.status();
    segment = *std::move(created);
  }
  const auto planned = std::make_shared<const StoredMemory>(
      WithVersion(*std::move(before), Plan(draft.segments, spec, windows), {}, options_.max_versions));
  const Manifest next = WithMemory(*manifest, draft.name, planned, "");
  if (absl::Status status = CheckQuota(quotas(), draft.name, *manifest, next); !status.ok()) return status;
  return std::unique_ptr<MemoryWriter>(new MemoryWriter(
      std::make_unique<MemoryWriter::Impl>(MemoryWriter::Impl{.store = shared_from_this(),
                                                              .draft = std::move(draft),
                                                              .position = position,
                                                              .segment = std::move(segment)})));
}

absl::StatusOr<std::unique_ptr<MemoryWriter>> MemoryStore::Create(std::string_view name, MemorySpec spec,
                                                                  const std::vector<PlannedWindow>& windows) {
  if (absl::Status status = CheckMemoryName(name); !status.ok()) return status;
  VersionDraft draft{.name = std::string(name), .target = VersionDraft::Target::kNewName};
  return impl_->BeginVersion(std::move(draft), /*position=*/0, spec, windows);
}

absl::StatusOr<std::unique_ptr<MemoryWriter>> MemoryStore::Replace(
    std::string_view name, MemorySpec spec, const std::vector<PlannedWindow>& windows) {
  const absl::StatusOr<FoundVersion> found = FindVersion(*impl_->catalog(), name);
  if (!found.ok()) return found.status();
  VersionDraft draft{.name = found->name, .target = VersionDraft::Target::kExistingName};
  return impl_->BeginVersion(std::move(draft), /*position=*/0, spec, windows);
}

absl::StatusOr<std::unique_ptr<MemoryWriter>> MemoryStore::Revise(std::shared_ptr<const Memory> base,
                                                                  SegmentRun run,
                                                                  const std::vector<PlannedWindow>& windows) {
  const std::vector<std::shared_ptr<const Segment>>& segments = base->segments();
  if (run.first > segments.size() || run.count > segments.size() - run.first) {
    return absl::InvalidArgumentError(absl::StrCat("segments ", run.first, " to ", run.first + run.count,
                                                   " of memory '", base->info().name, "', which has ",
                                                   segments.size()));
  }
  if (windows.empty() && run.count == segments.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("nothing would be left of memory '", base->info().name, "'"));
  }
  VersionDraft draft{
      .name = base->info().name, .target = VersionDraft::Target::kBase, .base = base, .segments = segments};
  const auto begin = draft.segments.begin() + static_cast<std::ptrdiff_t>(run.first);
  draft.segments.erase(begin, begin + static_cast<std::ptrdiff_t>(run.count));
  return impl_->BeginVersion(std::move(draft), run.first, base->spec(), windows);
}

SegmentRun SegmentsToMerge(const Memory& base, int64_t n_tokens) {
  size_t first = base.segments().size();
  while (first > 0 && base.segments()[first - 1]->n_tokens() < 2 * n_tokens) {
    n_tokens += base.segments()[--first]->n_tokens();
  }
  return {.first = first, .count = base.segments().size() - first};
}

MemoryWriter::MemoryWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

MemoryWriter::~MemoryWriter() = default;

absl::Status MemoryWriter::BeginWindow(std::span<const int32_t> tokens) {
  if (absl::Status status = impl_->CheckSegment(); !status.ok()) return status;
  return impl_->segment->BeginWindow(tokens);
}

absl::Status MemoryWriter::Write(int layer, int head, std::span<const float> keys,
                                 std::span<const float> values) {
  if (absl::Status status = impl_->CheckSegment(); !status.ok()) return status;
  return impl_->segment->Write(layer, head, keys, values);
}

absl::Status MemoryWriter::CopyWindow(const Memory& from, size_t window) {
  if (absl::Status status = impl_->CheckSegment(); !status.ok()) return status;
  size_t left = window;
  for (const std::shared_ptr<const Segment>& segment : from.segments()) {
    if (left < segment->windows().size()) return impl_->segment->CopyWindow(*segment, left);
    left -= segment->windows().size();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("window ", window, " of memory '", from.info().name, "', which has fewer"));
}

absl::StatusOr<std::shared_ptr<const Memory>> MemoryWriter::Commit(const CommitOptions& options,
                                                                   const IndexProgress& progress) {
  if (impl_->committed) return absl::FailedPreconditionError("this writer has committed already");
  MemoryStore::Impl& store = *impl_->store;
  VersionDraft draft = impl_->draft;
  if (impl_->segment != nullptr) {
    const absl::StatusOr<std::string> digest = impl_->segment->Finish();
    if (!digest.ok()) return digest.status();
    impl_->committed = true;
    const std::filesystem::path& file = impl_->segment->path();
    absl::StatusOr<std::shared_ptr<const Segment>> segment =
        Segment::Adopt(store.folder().file_system(), file, *digest);
    if (!segment.ok()) return segment.status();
    absl::StatusOr<NewSegment> prepared = store.Prepare(*std::move(segment), file, progress);
    if (!prepared.ok()) return prepared.status();
    draft.segments.insert(draft.segments.begin() + static_cast<std::ptrdiff_t>(impl_->position),
                          prepared->segment);
    draft.new_segments.push_back(*std::move(prepared));
  }
  impl_->committed = true;
  return store.Commit(std::move(draft), options);
}

}  // namespace mtm
