// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "memory_store/json_fields.h"
#include "memory_store/manifest_change.h"
#include "memory_store/memory_name.h"
#include "memory_store/quota.h"
#include "memory_store/store_impl.h"

namespace mtm {
namespace {

absl::Status CheckText(const char* what, const std::string& text) {
  if (IsUtf8(text)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(what, " is no UTF-8"));
}

absl::Status CheckOptions(const CommitOptions& options) {
  if (absl::Status status = CheckText("request id", options.request_id); !status.ok()) return status;
  if (absl::Status status = CheckText("metadata", options.metadata.value_or("")); !status.ok()) return status;
  if (!options.labels.has_value()) return absl::OkStatus();
  for (const auto& [key, value] : *options.labels) {
    if (absl::Status status = CheckText("key of a label", key); !status.ok()) return status;
    if (absl::Status status = CheckText("value of a label", value); !status.ok()) return status;
  }
  return absl::OkStatus();
}

// Whether the version of the memory is the base, segment by segment.
bool IsCurrent(const Memory& base, const StoredMemory& memory) {
  const StoredVersion& current = memory.current();
  return current.digest == base.info().digest &&
         std::equal(
             current.segments.begin(), current.segments.end(), base.segments().begin(), base.segments().end(),
             [](const std::string& digest, const auto& segment) { return digest == segment->digest(); });
}

}  // namespace

absl::Status CheckNameIsFree(const Manifest& manifest, const std::string& name) {
  const auto found = manifest.memories.find(name);
  if (found == manifest.memories.end()) return absl::OkStatus();
  return absl::AlreadyExistsError(
      absl::StrCat("memory '", name, "' exists already, with digest ", found->second->current().digest));
}

absl::StatusOr<StoredMemory> MemoryBefore(const VersionDraft& draft, const Manifest& manifest) {
  const auto found = manifest.memories.find(draft.name);
  const bool exists = found != manifest.memories.end();
  switch (draft.target) {
    case VersionDraft::Target::kNewName:
      if (exists) return CheckNameIsFree(manifest, draft.name);
      return StoredMemory();
    case VersionDraft::Target::kExistingName:
      if (exists) return *found->second;
      return UnknownMemory(draft.name);
    case VersionDraft::Target::kBase:
      if (exists && IsCurrent(*draft.base, *found->second)) return *found->second;
      break;
  }
  return absl::AbortedError(absl::StrCat("memory '", draft.name, "' was changed meanwhile: ",
                                         draft.base->info().digest, " is not its current version any more"));
}

void MemoryStore::Impl::RemoveIndexTemporaries(const VersionDraft& draft) {
  for (const NewSegment& one : draft.new_segments) {
    // The segment's own belongs to its writer.
    for (size_t i = 1; i < one.files.size(); ++i) RemoveTemporary(one.files[i]);
  }
}

absl::StatusOr<MemoryStore::Impl::ChangeResult> MemoryStore::Impl::Change(
    const std::string& name, const CommitOptions& options, const MakeStored& make,
    const std::function<absl::Status()>& adopt) {
  if (absl::Status status = CheckWritable(); !status.ok()) return status;
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  const std::lock_guard lock(change_mutex_);
  const std::shared_ptr<const Manifest> manifest = folder_->manifest();
  if (const RememberedWrite* write = FindRemembered(*manifest, options.request_id); write != nullptr) {
    return ChangeResult{
        .write = {.name = write->name, .digest = write->digest}, .was_remembered = true, .record = nullptr};
  }
  const absl::StatusOr<std::shared_ptr<const StoredMemory>> memory = make(*manifest);
  if (!memory.ok()) return memory.status();
  Manifest next = WithMemory(*manifest, name, *memory, options.request_id);
  if (absl::Status status = CheckQuota(quotas(), name, *manifest, next); !status.ok()) return status;
  if (adopt) {
    if (absl::Status status = adopt(); !status.ok()) return status;
  }
  const bool is_deletion = *memory == nullptr;
  if (absl::Status status = folder_->ReplaceManifest(std::move(next), is_deletion); !status.ok()) {
    return status;
  }
  Publish(folder_->manifest());
  // Who still loads one of these finds that it is not in the table any more, and looks again.
  const std::vector<std::string> gone = folder_->TakeUnreferenced();
  table_.Remove(gone);
  cache_.Drop(gone);
  folder_->RemoveSegments(gone);
  if (is_deletion) return ChangeResult{.write = {.name = name, .digest = ""}};
  return ChangeResult{.write = {.name = name, .digest = (*memory)->current().digest},
                      .was_remembered = false,
                      .record = catalog()->at(name)};
}

absl::StatusOr<std::shared_ptr<const Memory>> MemoryStore::Impl::Commit(VersionDraft draft,
                                                                        const CommitOptions& options) {
  const StoredVersion version = MakeVersion(draft.segments);
  const auto make = [&](const Manifest& manifest) -> absl::StatusOr<std::shared_ptr<const StoredMemory>> {
    absl::StatusOr<StoredMemory> before = MemoryBefore(draft, manifest);
    if (!before.ok()) return before.status();
    for (const std::shared_ptr<const Segment>& segment : draft.segments) {
      const bool is_new = std::any_of(draft.new_segments.begin(), draft.new_segments.end(),
                                      [&](const NewSegment& n) { return n.segment == segment; });
      const absl::Status damage = table_.Find(segment->digest()).damage;
      if (!is_new && !damage.ok()) return damage;
    }
    return std::make_shared<const StoredMemory>(
        WithVersion(*std::move(before), version, options, options_.max_versions));
  };
  const auto adopt = [&]() -> absl::Status {
    for (const NewSegment& one : draft.new_segments) {
      const std::string& digest = one.segment->digest();
      if (absl::Status status = folder_->Adopt(digest, one.files); !status.ok()) return status;
      table_.SetWritten(*one.segment);
      const std::shared_ptr<const Segment> counted = cache_.Put(one.segment);
      for (std::shared_ptr<const Segment>& segment : draft.segments) {
        if (segment->digest() == digest) segment = counted;
      }
    }
    table_.SetVersionWritten(version);
    return absl::OkStatus();
  };
  const absl::StatusOr<ChangeResult> result = Change(draft.name, options, make, adopt);
  if (!result.ok() || result->was_remembered) RemoveIndexTemporaries(draft);
  if (!result.ok()) return result.status();
  if (result->was_remembered) return Get(absl::StrCat(result->write.name, "@", result->write.digest));
  return MemoryOf(draft.name, version, std::move(draft.segments));
}

}  // namespace mtm
