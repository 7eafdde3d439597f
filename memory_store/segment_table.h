// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_MEMORY_STORE_SEGMENT_TABLE_H_
#define MTM_MEMORY_STORE_SEGMENT_TABLE_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "memory_store/manifest.h"
#include "memory_store/memory.h"
#include "memory_store/segment.h"
#include "memory_store/store_folder.h"

namespace mtm {

// What is known of a segment without its rows.
struct SegmentFacts {
  MemorySpec spec;
  std::vector<MemoryWindow> windows;
  int64_t n_tokens = 0;
  int64_t size_bytes = 0;
};

// What is known of the segments that versions refer to, and which of them are damaged. Thread-safe; no call
// but ReadHead waits for the disk.
class SegmentTable {
 public:
  struct Entry {
    uint64_t stamp = 0;  // another one whenever the file is another; 0: not in the table
    std::shared_ptr<const SegmentFacts> facts;  // null: not read yet
    std::optional<double> recall;               // of its index, known when both were loaded
    absl::Status damage;                        // why it cannot be served
  };

  explicit SegmentTable(const StoreFolder& folder) : folder_(folder) {}

  Entry Find(const std::string& digest) const;

  // Takes up a segment of which nothing is known.
  void Add(const std::string& digest);
  // An error of reading the file, begun when the entry had that stamp: damage where it will not pass by
  // itself. Returns it, or ABORTED: the segment was removed or written anew meanwhile, and the error is of no
  // interest.
  absl::Status SetError(const std::string& digest, uint64_t stamp, const absl::Status& status);
  // All of the file was found good. ABORTED as above.
  absl::Status SetGood(const std::string& digest, uint64_t stamp);
  // Facts of a segment in the table; read from its file where they are not known. Errors as SetError's, and
  // damage.
  absl::StatusOr<std::shared_ptr<const SegmentFacts>> ReadHead(const std::string& digest);
  // It was loaded, or has another index.
  void SetLoaded(const Segment& segment);
  // Its file is new and good.
  void SetWritten(const Segment& segment);
  void Remove(const std::vector<std::string>& digests);
  // What is damaged, as if nothing were known of it: somebody may have mended it.
  void ForgetDamage();

  // DATA_LOSS where the segments, as far as they are known, are not those of the version; remembered as the
  // version's damage.
  void CheckVersion(const StoredVersion& version);
  void SetVersionWritten(const StoredVersion& version);
  // Of the version or its first damaged segment.
  absl::Status Damage(const StoredVersion& version) const;

  // Grows with every change that shows in the catalog.
  uint64_t epoch() const { return epoch_; }

 private:
  const StoreFolder& folder_;
  std::atomic<uint64_t> epoch_ = 0;
  mutable std::mutex mutex_;
  uint64_t last_stamp_ = 0;
  std::map<std::string, Entry> entries_;              // by digest
  std::map<std::string, absl::Status> bad_versions_;  // by digest
};

SegmentFacts FactsOf(const Segment& segment);

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_SEGMENT_TABLE_H_
