// SPDX-License-Identifier: Apache-2.0
#include "memory_store/segment_cache.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"

namespace mtm {
namespace {

// FAILED_PRECONDITION where even an empty cache of `max_bytes` had no room for all of them: nothing is let go
// for those.
absl::Status FitsAlone(std::span<const SegmentCache::Wanted> wanted, int64_t max_bytes) {
  std::map<std::string_view, int64_t> sizes;
  for (const SegmentCache::Wanted& one : wanted) sizes[one.digest] = one.size_bytes;
  int64_t all = 0;
  for (const auto& [digest, bytes] : sizes) all += bytes;
  if (all <= max_bytes) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "it needs ", all, " bytes of resident segments, more than the whole budget of ", max_bytes, " bytes"));
}

}  // namespace

SegmentCache::SegmentCache(int64_t max_bytes, Loader loader)
    : max_bytes_(max_bytes), loader_(std::move(loader)) {}

absl::StatusOr<std::vector<std::shared_ptr<const Segment>>> SegmentCache::Get(
    std::span<const Wanted> wanted) {
  std::vector<std::shared_ptr<const Segment>> found(wanted.size());
  std::unique_lock lock(mutex_);
  for (;;) {
    // First what is here: while it is held, it is not let go to make room for the rest.
    std::vector<Wanted> to_load;
    bool others_load = false;
    int64_t bytes = 0;
    for (size_t i = 0; i < wanted.size(); ++i) {
      if (found[i] != nullptr) continue;
      Slot& slot = slots_[wanted[i].digest];
      slot.last_use = ++now_;
      found[i] = slot.kept;
      if (found[i] != nullptr) continue;
      if (slot.loading) {
        others_load = true;
      } else if (std::none_of(to_load.begin(), to_load.end(),
                              [&](const Wanted& other) { return other.digest == wanted[i].digest; })) {
        to_load.push_back(wanted[i]);
        bytes += wanted[i].size_bytes;
      }
    }
    if (to_load.empty() && !others_load) return found;
    if (to_load.empty()) {
      load_ended_.wait(lock);
      continue;
    }
    // All at once: of two requests for several segments each, one gets all of its own.
    absl::Status status = FitsAlone(wanted, max_bytes_);
    if (status.ok()) status = MakeRoom(bytes);
    if (!status.ok()) {
      for (const Wanted& one : to_load) slots_.erase(one.digest);
      return status;
    }
    loading_bytes_ += bytes;
    for (const Wanted& one : to_load) slots_[one.digest].loading = true;
    for (const Wanted& one : to_load) {
      if (!status.ok()) {
        EndLoading(one, status).IgnoreError();
        continue;
      }
      lock.unlock();
      absl::StatusOr<std::shared_ptr<const Segment>> loaded = loader_(one.digest);
      lock.lock();
      loaded = EndLoading(one, std::move(loaded));
      if (!loaded.ok()) {
        status = loaded.status();
        continue;
      }
      for (size_t i = 0; i < wanted.size(); ++i) {
        if (wanted[i].digest == one.digest) found[i] = *loaded;
      }
    }
    if (!status.ok()) return status;
  }
}

absl::StatusOr<std::shared_ptr<const Segment>> SegmentCache::EndLoading(
    const Wanted& wanted, absl::StatusOr<std::shared_ptr<const Segment>> loaded) {
  loading_bytes_ -= wanted.size_bytes;
  load_ended_.notify_all();
  Slot& slot = slots_[wanted.digest];
  slot.loading = false;
  const bool dropped = std::exchange(slot.dropped, false);
  if (slot.kept != nullptr) return slot.kept;  // it was put here meanwhile
  absl::StatusOr<std::shared_ptr<const Segment>> segment = std::move(loaded);
  if (segment.ok()) segment = Count(*std::move(segment));
  if (!segment.ok() || dropped) {
    slots_.erase(wanted.digest);
  } else {
    slot.kept = *segment;
    ++epoch_;
  }
  return segment;
}

std::shared_ptr<const Segment> SegmentCache::Put(std::shared_ptr<const Segment> segment) {
  const std::string digest = segment->digest();
  const std::lock_guard lock(mutex_);
  slots_[digest].kept.reset();
  ++epoch_;
  const bool fits = MakeRoom(segment->size_bytes()).ok();
  segment = Count(std::move(segment));
  Slot& slot = slots_[digest];
  slot.last_use = ++now_;
  if (fits) slot.kept = segment;
  return segment;
}

void SegmentCache::Drop(std::span<const std::string> digests) {
  const std::lock_guard lock(mutex_);
  for (const std::string& digest : digests) {
    const auto found = slots_.find(digest);
    if (found == slots_.end()) continue;
    if (found->second.loading) {
      found->second.kept.reset();
      found->second.dropped = true;
    } else {
      slots_.erase(found);
    }
    ++epoch_;
  }
}

std::shared_ptr<const Segment> SegmentCache::Find(const std::string& digest) const {
  const std::lock_guard lock(mutex_);
  const auto found = slots_.find(digest);
  return found == slots_.end() ? nullptr : found->second.kept;
}

bool SegmentCache::Keeps(const std::string& digest) const { return Find(digest) != nullptr; }

std::shared_ptr<const Segment> SegmentCache::Count(std::shared_ptr<const Segment> segment) const {
  *resident_bytes_ += segment->size_bytes();
  const Segment* const pointer = segment.get();
  return {pointer, [segment = std::move(segment), total = resident_bytes_](const Segment*) {
            *total -= segment->size_bytes();
          }};
}

absl::Status SegmentCache::MakeRoom(int64_t bytes) {
  while (bytes > max_bytes_ - *resident_bytes_ - loading_bytes_) {
    auto oldest = slots_.end();
    for (auto slot = slots_.begin(); slot != slots_.end(); ++slot) {
      const bool can_go = slot->second.kept.use_count() == 1;
      if (can_go && (oldest == slots_.end() || slot->second.last_use < oldest->second.last_use))
        oldest = slot;
    }
    if (oldest == slots_.end()) {
      return absl::ResourceExhaustedError(
          absl::StrCat("it needs ", bytes, " bytes of resident segments; of the budget of ", max_bytes_,
                       " bytes ", *resident_bytes_ + loading_bytes_, " are in use"));
    }
    oldest->second.kept.reset();
    if (!oldest->second.loading) slots_.erase(oldest);
    ++epoch_;
  }
  return absl::OkStatus();
}

}  // namespace mtm
