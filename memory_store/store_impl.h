// SPDX-License-Identifier: Apache-2.0
// What MemoryStore and its writers share.
#ifndef MTM_MEMORY_STORE_STORE_IMPL_H_
#define MTM_MEMORY_STORE_STORE_IMPL_H_

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "memory_store/catalog.h"
#include "memory_store/listeners.h"
#include "memory_store/manifest.h"
#include "memory_store/memory_store.h"
#include "memory_store/scrubber.h"
#include "memory_store/segment.h"
#include "memory_store/segment_cache.h"
#include "memory_store/segment_table.h"
#include "memory_store/store_folder.h"

namespace mtm {

// A new segment, mapped from the temporary file that waits for its name.
struct NewSegment {
  std::shared_ptr<const Segment> segment;
  std::vector<NewFile> files;  // the segment, and its index where it has one
};

// A version to be committed.
struct VersionDraft {
  enum class Target { kNewName, kExistingName, kBase };

  std::string name;
  Target target = Target::kNewName;
  std::shared_ptr<const Memory> base;                    // of kBase: what must still be current
  std::vector<std::shared_ptr<const Segment>> segments;  // in order; at least one
  std::vector<NewSegment> new_segments;                  // those of them that are new
};

// Readers take the published catalog and wait for nobody; changes go one after the other. Lives as long as
// the store or a writer.
class MemoryStore::Impl : public std::enable_shared_from_this<MemoryStore::Impl> {
 public:
  Impl(StoreOptions options, std::unique_ptr<StoreFolder> folder);

  // Reads the heads of all segments, publishes the first catalog and starts what runs in the background.
  absl::Status Start();
  // Ends what runs in the background.
  void Stop();

  const StoreOptions& options() const { return options_; }
  Quotas quotas() const;
  void SetQuotas(Quotas quotas);
  StoreFolder& folder() { return *folder_; }
  SegmentTable& table() { return table_; }
  SegmentCache& cache() { return cache_; }
  Listeners& listeners() { return listeners_; }
  std::shared_ptr<const Catalog> catalog() const;

  // FAILED_PRECONDITION: read-only.
  absl::Status CheckWritable() const;

  // ---- store_reading.cc

  absl::StatusOr<std::shared_ptr<const Memory>> Get(std::string_view reference);
  absl::StatusOr<std::shared_ptr<const MemoryRecord>> Describe(std::string_view reference) const;
  // As MemoryStore::Export; ABORTED: one of its segments is not there any more, or another.
  absl::StatusOr<std::unique_ptr<MemoryExport>> OpenExport(const StoredVersion& version);
  // Publishes what loading, letting go or damage changed, where they did.
  void Refresh();
  // As MemoryStore::Verify, of one segment; ABORTED: it is not there any more, or another. Comparing its
  // index with the keys takes all cores, for minutes where it is large.
  absl::Status VerifySegment(const std::string& digest, bool compare_index, const ByteProgress& progress);
  // What to say of an error of reading the segment's file that began when it had that stamp. Quarantines it
  // where it is damage.
  absl::Status SegmentError(const std::string& digest, uint64_t stamp, const absl::Status& status);
  // Read-only: takes up what another process changed.
  absl::Status TakeUpChanges();

  // ---- store_changes.cc

  // The memory that is to be under the name, from what is there now; null: none any more.
  using MakeStored =
      std::function<absl::StatusOr<std::shared_ptr<const StoredMemory>>(const Manifest& manifest)>;
  struct ChangeResult {
    WriteResult write;
    bool was_remembered = false;  // a write with this id succeeded before, and nothing was done
    std::shared_ptr<const MemoryRecord> record;  // null: deleted, or it was remembered
  };
  // `adopt` is called when nothing but the disk can fail.
  absl::StatusOr<ChangeResult> Change(const std::string& name, const CommitOptions& options,
                                      const MakeStored& make,
                                      const std::function<absl::Status()>& adopt = {});
  absl::StatusOr<std::shared_ptr<const MemoryRecord>> ChangeAndDescribe(const std::string& name,
                                                                        const CommitOptions& options,
                                                                        const MakeStored& make);
  // A version that is not damaged.
  absl::StatusOr<FoundVersion> FindGood(std::string_view reference) const;
  absl::StatusOr<std::shared_ptr<const Memory>> Commit(VersionDraft draft, const CommitOptions& options);
  // A writer of the draft, which is to get a segment of `windows`, if any, before that at `position`.
  absl::StatusOr<std::unique_ptr<MemoryWriter>> BeginVersion(VersionDraft draft, size_t position,
                                                             const MemorySpec& spec,
                                                             const std::vector<PlannedWindow>& windows);

  // ---- store_indexes.cc

  // A segment that lies in `file`, not yet under its name, with its index where it is large enough to have
  // one.
  absl::StatusOr<NewSegment> Prepare(std::shared_ptr<const Segment> segment,
                                     const std::filesystem::path& file, const IndexProgress& progress);
  void RemoveIndexTemporaries(const VersionDraft& draft);
  // Where the segment is large enough to have one. ABORTED: no version refers to the segment any more.
  absl::Status RebuildIndex(const std::shared_ptr<const Segment>& segment, const IndexProgress& progress);

  // ---- Imports under way, by digest.
  bool BeginImport(const std::string& digest);  // false: there is one
  void EndImport(const std::string& digest);
  std::set<std::string> imports() const;

 private:
  static constexpr uint64_t kNeverPublished = ~uint64_t{0};

  absl::StatusOr<std::shared_ptr<const Segment>> Load(const std::string& digest);
  absl::StatusOr<std::vector<std::shared_ptr<const Segment>>> LoadAll(const StoredVersion& version);
  void ReadHeads(const Manifest& manifest);
  bool WantsIndex(const Segment& segment) const { return segment.n_tokens() >= options_.index.min_tokens; }
  // Builds it and writes it to a temporary file, whose path it sets.
  absl::StatusOr<std::shared_ptr<const SegmentIndex>> BuildIndex(const Segment& segment, NewFile& file,
                                                                 const IndexProgress& progress);
  void RemoveTemporary(const NewFile& file);
  void Publish(std::shared_ptr<const Manifest> manifest);
  void Poll(const std::stop_token& stop);

  const StoreOptions options_;
  const std::unique_ptr<StoreFolder> folder_;
  SegmentTable table_;
  SegmentCache cache_;
  Listeners listeners_;

  // Taken in this order. Of std, not abseil: ThreadSanitizer does not see into a prebuilt abseil.
  std::mutex change_mutex_;  // held while the disk works
  std::mutex publish_mutex_;
  std::shared_ptr<const Manifest> published_manifest_;       // under publish_mutex_
  std::atomic<uint64_t> published_epoch_ = kNeverPublished;  // of table and cache together
  mutable std::mutex catalog_mutex_;
  std::shared_ptr<const Catalog> catalog_ = std::make_shared<Catalog>();  // under catalog_mutex_

  mutable std::mutex quotas_mutex_;
  Quotas quotas_;  // under quotas_mutex_
  mutable std::mutex imports_mutex_;
  std::set<std::string> imports_;

  std::optional<Scrubber> scrubber_;
  std::optional<std::jthread> poller_;
};

// The memory as it is in the manifest, to be given the version that is drafted; empty for a new name.
// ALREADY_EXISTS, NOT_FOUND, ABORTED.
absl::StatusOr<StoredMemory> MemoryBefore(const VersionDraft& draft, const Manifest& manifest);

// ALREADY_EXISTS.
absl::Status CheckNameIsFree(const Manifest& manifest, const std::string& name);

// An error with the version that it is about.
absl::Status AboutVersion(const FoundVersion& found, const absl::Status& status);

// A memory of the version, which is what `segments` say. Precondition: as MakeVersion's.
std::shared_ptr<const Memory> MemoryOf(const std::string& name, const StoredVersion& version,
                                       std::vector<std::shared_ptr<const Segment>> segments);

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_STORE_IMPL_H_
