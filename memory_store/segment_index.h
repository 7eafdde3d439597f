// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_MEMORY_STORE_SEGMENT_INDEX_H_
#define MTM_MEMORY_STORE_SEGMENT_INDEX_H_

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "memory_store/file_system.h"

namespace mtm {

class Segment;

struct IndexOptions {
  int64_t min_tokens = 100'000;  // segments of fewer rows are searched exactly
  // Of recall@10 among the segment's own keys: as many lists are probed as this takes. Keys of other texts
  // find less: of a million of the demo model's keys 0.992 where it was 0.997, and 0.976 where it was 0.992.
  double recall_target = 0.995;
  uint64_t seed = 1;
};

// Work done, 0..1; an error ends the work and is its result.
using IndexProgress = std::function<absl::Status(double share)>;

// An inverted file over the keys of each (layer, head) of a segment, mapped from its file: centroids of
// k-means, and for each the rows that are nearest to it and their keys in 4 bits a number (FORMAT.md).
// Immutable and thread-safe.
class SegmentIndex {
 public:
  // Trains, assigns, encodes and measures, seconds for each million keys of a (layer, head), and writes what
  // Load reads, durably, under a path where nothing is. Leaves no file where it fails.
  static absl::Status Build(FileSystem& file_system, const std::filesystem::path& path,
                            const Segment& segment, const IndexOptions& options,
                            const IndexProgress& progress = {});
  // DATA_LOSS: missing, damaged, or not of this segment; FAILED_PRECONDITION: of another version. Others as
  // the file system's. Messages have the path.
  static absl::StatusOr<std::shared_ptr<const SegmentIndex>> Load(FileSystem& file_system,
                                                                  const std::filesystem::path& path,
                                                                  const Segment& segment);
  ~SegmentIndex();

  // For each of the queries [n, head_dim] some more than k rows, or all where there are no more, that may be
  // its nearest, in no order; what it gets does not depend on the others. Precondition as
  // Segment::keys.
  std::vector<std::vector<uint32_t>> Propose(int layer, int head, std::span<const float> queries,
                                             int k) const;

  // The lowest recall@10 of a (layer, head), measured when it was built.
  double recall() const;
  int n_list() const;

  // Compares with the keys: DATA_LOSS where a row is not in the list of its nearest centroid or not what
  // its code says (but for rounding), or where recall is clearly below what was measured.
  absl::Status Verify(const Segment& segment, const IndexProgress& progress = {}) const;

  struct Data;

 private:
  explicit SegmentIndex(std::unique_ptr<const Data> data);
  std::unique_ptr<const Data> data_;
};

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_SEGMENT_INDEX_H_
