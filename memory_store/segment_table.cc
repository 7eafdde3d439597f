// SPDX-License-Identifier: Apache-2.0
#include "memory_store/segment_table.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "memory_store/segment_layout.h"
#include "spdlog/spdlog.h"

namespace mtm {
namespace {

// An error of reading the file that says what it holds, and not that it could not be read now.
bool IsDamage(FileSystem& file_system, const std::filesystem::path& path, const absl::Status& status) {
  if (absl::IsDataLoss(status)) return true;
  // A newer format, or no permission.
  return absl::IsFailedPrecondition(status) && file_system.OpenFile(path).ok();
}

SegmentFacts FactsOf(const SegmentLayout& layout) {
  return {.spec = layout.spec,
          .windows = layout.windows,
          .n_tokens = layout.n_tokens,
          .size_bytes = static_cast<int64_t>(layout.file_size())};
}

absl::Status ChangedMeanwhile(const std::string& digest) {
  return absl::AbortedError(absl::StrCat("segment ", digest, " was removed or written anew meanwhile"));
}

}  // namespace

SegmentFacts FactsOf(const Segment& segment) {
  return {.spec = segment.spec(),
          .windows = segment.windows(),
          .n_tokens = segment.n_tokens(),
          .size_bytes = segment.size_bytes()};
}

SegmentTable::Entry SegmentTable::Find(const std::string& digest) const {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(digest);
  return found == entries_.end() ? Entry() : found->second;
}

void SegmentTable::Add(const std::string& digest) {
  const std::lock_guard lock(mutex_);
  const auto [entry, added] = entries_.try_emplace(digest);
  if (added) entry->second.stamp = ++last_stamp_;
}

absl::Status SegmentTable::SetError(const std::string& digest, uint64_t stamp, const absl::Status& status) {
  const bool is_damage = IsDamage(folder_.file_system(), folder_.SegmentPath(digest), status);
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(digest);
  if (found == entries_.end() || found->second.stamp != stamp) return ChangedMeanwhile(digest);
  if (!is_damage) return status;
  if (found->second.damage.ok()) {
    spdlog::error("segment is damaged, and what uses it not served: reason=\"{}\"",
                  std::string(status.message()));
  }
  found->second.damage = status;
  ++epoch_;
  return status;
}

absl::Status SegmentTable::SetGood(const std::string& digest, uint64_t stamp) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(digest);
  if (found == entries_.end() || found->second.stamp != stamp) return ChangedMeanwhile(digest);
  if (!found->second.damage.ok()) ++epoch_;
  found->second.damage = absl::OkStatus();
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const SegmentFacts>> SegmentTable::ReadHead(const std::string& digest) {
  const Entry entry = Find(digest);
  if (entry.stamp == 0) return ChangedMeanwhile(digest);
  if (!entry.damage.ok()) return entry.damage;
  if (entry.facts != nullptr) return entry.facts;
  const absl::StatusOr<SegmentHead> head =
      ReadSegmentHead(folder_.file_system(), folder_.SegmentPath(digest), digest);
  if (!head.ok()) return SetError(digest, entry.stamp, head.status());
  auto facts = std::make_shared<const SegmentFacts>(FactsOf(head->layout));
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(digest);
  if (found == entries_.end()) return ChangedMeanwhile(digest);
  found->second.facts = facts;
  ++epoch_;
  return facts;
}

void SegmentTable::SetLoaded(const Segment& segment) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(segment.digest());
  if (found == entries_.end()) return;
  Entry& entry = found->second;
  if (entry.facts == nullptr) entry.facts = std::make_shared<const SegmentFacts>(FactsOf(segment));
  entry.recall.reset();
  if (segment.index() != nullptr) entry.recall = segment.index()->recall();
  ++epoch_;
}

void SegmentTable::SetWritten(const Segment& segment) {
  {
    const std::lock_guard lock(mutex_);
    Entry& entry = entries_[segment.digest()];
    entry.stamp = ++last_stamp_;
    entry.damage = absl::OkStatus();
  }
  SetLoaded(segment);
}

void SegmentTable::Remove(const std::vector<std::string>& digests) {
  const std::lock_guard lock(mutex_);
  for (const std::string& digest : digests) entries_.erase(digest);
}

void SegmentTable::ForgetDamage() {
  const std::lock_guard lock(mutex_);
  for (auto& [digest, entry] : entries_) {
    if (!entry.damage.ok()) entry = {.stamp = ++last_stamp_};
  }
  bad_versions_.clear();
  ++epoch_;
}

void SegmentTable::CheckVersion(const StoredVersion& version) {
  std::vector<MemoryWindow> windows;
  std::shared_ptr<const SegmentFacts> first;
  int64_t n_tokens = 0, size = 0;
  bool fit = true;
  for (const std::string& digest : version.segments) {
    const std::shared_ptr<const SegmentFacts> facts = Find(digest).facts;
    if (facts == nullptr) return;
    if (first == nullptr) first = facts;
    fit = fit && facts->spec == first->spec;
    n_tokens += facts->n_tokens;
    size += facts->size_bytes;
    windows.insert(windows.end(), facts->windows.begin(), facts->windows.end());
  }
  if (fit && n_tokens == version.n_tokens && size == version.size_bytes &&
      VersionDigest(first->spec, windows) == version.digest) {
    return;
  }
  const std::lock_guard lock(mutex_);
  bad_versions_[version.digest] = absl::DataLossError(absl::StrCat(
      folder_.SegmentPath(version.segments[0]).string(),
      ": with the segments that the manifest names after it, it is not version ", version.digest));
  ++epoch_;
}

void SegmentTable::SetVersionWritten(const StoredVersion& version) {
  const std::lock_guard lock(mutex_);
  if (bad_versions_.erase(version.digest) > 0) ++epoch_;
}

absl::Status SegmentTable::Damage(const StoredVersion& version) const {
  const std::lock_guard lock(mutex_);
  const auto bad = bad_versions_.find(version.digest);
  if (bad != bad_versions_.end()) return bad->second;
  for (const std::string& digest : version.segments) {
    const auto found = entries_.find(digest);
    if (found != entries_.end() && !found->second.damage.ok()) return found->second.damage;
  }
  return absl::OkStatus();
}

}  // namespace mtm
