// SPDX-License-Identifier: Apache-2.0
#include "memory_store/store_impl.h"

#include <algorithm>
#include <chrono>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "memory_store/stoppable_wait.h"
#include "spdlog/spdlog.h"

namespace mtm {

MemoryStore::Impl::Impl(StoreOptions options, std::unique_ptr<StoreFolder> folder)
    : options_(std::move(options)),
      folder_(std::move(folder)),
      table_(*folder_),
      cache_(options_.max_resident_bytes, [this](const std::string& digest) { return Load(digest); }),
      quotas_(options_.quotas) {}

Quotas MemoryStore::Impl::quotas() const {
  const std::lock_guard lock(quotas_mutex_);
  return quotas_;
}

void MemoryStore::Impl::SetQuotas(Quotas quotas) {
  const std::lock_guard lock(quotas_mutex_);
  quotas_ = std::move(quotas);
}

absl::Status MemoryStore::Impl::Start() {
  ReadHeads(*folder_->manifest());
  Publish(folder_->manifest());
  if (options_.read_only) {
    // Files that are gone belong to a manifest that is gone.
    if (absl::Status status = TakeUpChanges(); !status.ok()) return status;
    poller_.emplace([this](const std::stop_token& stop) { Poll(stop); });
  }
  if (options_.scrub_bytes_per_second > 0) {
    const auto list = [this] {
      // In any order, so that what comes last has its turn however often the server is started.
      const std::set<std::string> segments = SegmentsOf(*folder_->manifest());
      std::vector<std::string> shuffled(segments.begin(), segments.end());
      std::shuffle(shuffled.begin(), shuffled.end(), std::mt19937(std::random_device()()));
      return shuffled;
    };
    const auto check = [this](const std::string& digest, const ByteProgress& progress) {
      // What it finds is in the table and the log. That the index is as it was written has to do: to compare
      // it with the keys is no work for the background.
      VerifySegment(digest, /*compare_index=*/false, progress).IgnoreError();
      Refresh();
    };
    scrubber_.emplace(options_.scrub_bytes_per_second, list, check);
  }
  return absl::OkStatus();
}

void MemoryStore::Impl::Stop() {
  scrubber_.reset();
  poller_.reset();
}

std::shared_ptr<const Catalog> MemoryStore::Impl::catalog() const {
  const std::lock_guard lock(catalog_mutex_);
  return catalog_;
}

absl::Status MemoryStore::Impl::CheckWritable() const {
  if (!options_.read_only) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the folder of memories ", folder_->root().string(), " was opened read-only"));
}

void MemoryStore::Impl::ReadHeads(const Manifest& manifest) {
  for (const std::string& digest : SegmentsOf(manifest)) {
    table_.Add(digest);
    if (absl::Status status = table_.ReadHead(digest).status();
        !status.ok() && table_.Find(digest).damage.ok()) {
      spdlog::warn("segment cannot be read now: reason=\"{}\"", std::string(status.message()));
    }
  }
  for (const auto& [name, memory] : manifest.memories) {
    for (const StoredVersion& version : memory->versions) table_.CheckVersion(version);
  }
}

void MemoryStore::Impl::Publish(std::shared_ptr<const Manifest> manifest) {
  {
    const std::lock_guard lock(publish_mutex_);
    published_manifest_ = std::move(manifest);
    published_epoch_ = kNeverPublished;
  }
  Refresh();
}

void MemoryStore::Impl::Refresh() {
  if (table_.epoch() + cache_.epoch() == published_epoch_) return;
  {
    const std::lock_guard lock(publish_mutex_);
    published_epoch_ =
        table_.epoch() + cache_.epoch();  // before looking: what changes meanwhile is seen the next time
    auto next =
        std::make_shared<const Catalog>(MakeCatalog(*catalog(), *published_manifest_, table_, cache_));
    const std::lock_guard catalog_lock(catalog_mutex_);
    if (*next == *catalog_) return;
    catalog_.swap(next);
  }
  listeners_.Call();
}

absl::Status MemoryStore::Impl::TakeUpChanges() {
  const std::lock_guard lock(change_mutex_);
  bool any = false;
  for (;;) {
    const absl::StatusOr<bool> changed = folder_->Reload();
    if (!changed.ok()) return changed.status();
    if (!*changed) break;
    any = true;
    table_.ForgetDamage();
    ReadHeads(*folder_->manifest());  // where a file is gone, the manifest has changed again
  }
  if (!any) return absl::OkStatus();
  const std::shared_ptr<const Manifest> before = published_manifest_;  // changed under change_mutex_
  Publish(folder_->manifest());
  std::vector<std::string> gone;
  const std::set<std::string> old_segments = SegmentsOf(*before), segments = SegmentsOf(*published_manifest_);
  std::set_difference(old_segments.begin(), old_segments.end(), segments.begin(), segments.end(),
                      std::back_inserter(gone));
  table_.Remove(gone);
  cache_.Drop(gone);
  return absl::OkStatus();
}

void MemoryStore::Impl::Poll(const std::stop_token& stop) {
  std::string last_error;
  const auto interval = absl::ToChronoNanoseconds(options_.poll_interval);
  while (WaitUntil(stop, std::chrono::steady_clock::now() + interval)) {
    const absl::Status status = TakeUpChanges();
    if (!status.ok() && status.message() != last_error) {
      spdlog::warn("memory_store cannot look for changes: reason=\"{}\"", std::string(status.message()));
    }
    last_error = std::string(status.message());
  }
}

bool MemoryStore::Impl::BeginImport(const std::string& digest) {
  const std::lock_guard lock(imports_mutex_);
  return imports_.insert(digest).second;
}

void MemoryStore::Impl::EndImport(const std::string& digest) {
  const std::lock_guard lock(imports_mutex_);
  imports_.erase(digest);
}

std::set<std::string> MemoryStore::Impl::imports() const {
  const std::lock_guard lock(imports_mutex_);
  return imports_;
}

}  // namespace mtm
