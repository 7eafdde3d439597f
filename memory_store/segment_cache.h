// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_MEMORY_STORE_SEGMENT_CACHE_H_
#define MTM_MEMORY_STORE_SEGMENT_CACHE_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "memory_store/segment.h"

namespace mtm {

// The segments that are kept mapped, within a number of bytes: to make room, those used least recently are
// let go. What somebody else holds is in use, and is not. Thread-safe; nobody waits for the disk but for what
// he wants.
class SegmentCache {
 public:
  using Loader = std::function<absl::StatusOr<std::shared_ptr<const Segment>>(const std::string& digest)>;

  struct Wanted {
    std::string digest;
    int64_t size_bytes = 0;
  };

  // `loader` is called by one thread at a time for a segment; others that want it wait for it.
  SegmentCache(int64_t max_bytes, Loader loader);

  // In the order wanted; loads what is missing. RESOURCE_EXHAUSTED: it does not fit beside what is in use;
  // FAILED_PRECONDITION: nor alone; others are the loader's.
  absl::StatusOr<std::vector<std::shared_ptr<const Segment>>> Get(std::span<const Wanted> wanted);

  // Takes up a segment, in place of the one with its digest, and keeps it where it fits. Returns it in the
  // form in which its bytes are counted while anybody holds it.
  std::shared_ptr<const Segment> Put(std::shared_ptr<const Segment> segment);

  // Lets go of them, in use or not.
  void Drop(std::span<const std::string> digests);

  // Null where it is not kept.
  std::shared_ptr<const Segment> Find(const std::string& digest) const;
  bool Keeps(const std::string& digest) const;

  // Of all that were given out or are kept.
  int64_t resident_bytes() const { return *resident_bytes_; }

  // Grows whenever something else is kept.
  uint64_t epoch() const { return epoch_; }

 private:
  struct Slot {
    std::shared_ptr<const Segment> kept;
    uint64_t last_use = 0;
    bool loading = false;
    bool dropped = false;  // while it was loading
  };

  std::shared_ptr<const Segment> Count(std::shared_ptr<const Segment> segment) const;
  absl::Status MakeRoom(int64_t bytes);
  absl::StatusOr<std::shared_ptr<const Segment>> EndLoading(
      const Wanted& wanted, absl::StatusOr<std::shared_ptr<const Segment>> loaded);

  const int64_t max_bytes_;
  const Loader loader_;
  // Shared with the segments given out, which may outlive this.
  const std::shared_ptr<std::atomic<int64_t>> resident_bytes_ = std::make_shared<std::atomic<int64_t>>(0);
  std::atomic<uint64_t> epoch_ = 0;

  mutable std::mutex mutex_;
  std::condition_variable load_ended_;
  std::map<std::string, Slot> slots_;  // by digest
  uint64_t now_ = 0;                   // counts uses
  int64_t loading_bytes_ = 0;
};

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_SEGMENT_CACHE_H_
