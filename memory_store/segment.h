// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_MEMORY_STORE_SEGMENT_H_
#define MTM_MEMORY_STORE_SEGMENT_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "memory_store/checked_file.h"
#include "memory_store/file_system.h"
#include "memory_store/memory.h"
#include "memory_store/segment_index.h"
#include "memory_store/segment_layout.h"

namespace mtm {

// Rows of one (layer, head) as they are stored: [n, head_dim].
struct StoredRows {
  DataType dtype = DataType::kF32;
  const std::byte* data = nullptr;
  int64_t n = 0;
  int head_dim = 0;

  // Rows [first, first + out.size() / head_dim) as float32.
  void Copy(int64_t first, std::span<float> out) const;
};

// What a segment's file says of itself, read and checked without reading its rows.
struct SegmentHead {
  SegmentLayout layout;
  std::string digest;  // equals the file's name
};

// DATA_LOSS: missing, truncated or damaged, with what and where; FAILED_PRECONDITION: of a newer version, or
// no permission; RESOURCE_EXHAUSTED, INTERNAL: it cannot be read now. Every message has the path.
absl::StatusOr<SegmentHead> ReadSegmentHead(FileSystem& file_system, const std::filesystem::path& path,
                                            std::string_view digest);

// A checked segment file, mapped. Immutable and thread-safe; several memories may share one.
class Segment {
 public:
  // Reads the file once and compares every block with its checksum. Errors as ReadSegmentHead's, and
  // `progress`'s.
  static absl::StatusOr<std::shared_ptr<const Segment>> Load(FileSystem& file_system,
                                                             const std::filesystem::path& path,
                                                             std::string_view digest,
                                                             const ByteProgress& progress = {});
  // The same of a file that was just written by this process: not read again.
  static absl::StatusOr<std::shared_ptr<const Segment>> Adopt(FileSystem& file_system,
                                                              const std::filesystem::path& path,
                                                              std::string_view digest);
  ~Segment();

  const std::string& digest() const { return head_.digest; }
  const MemorySpec& spec() const { return head_.layout.spec; }
  const std::vector<MemoryWindow>& windows() const { return head_.layout.windows; }
  int64_t n_tokens() const { return head_.layout.n_tokens; }
  int64_t size_bytes() const;  // of the file
  std::span<const int32_t> tokens() const;

  // Precondition: the layer is kept, 0 <= head < n_head.
  StoredRows keys(int layer, int head) const;
  StoredRows values(int layer, int head) const;

  // Compares the bytes of every window with its digest: DATA_LOSS names the window.
  absl::Status VerifyWindows(const ByteProgress& progress = {}) const;

  // Null: searched exactly.
  const SegmentIndex* index() const { return index_.get(); }
  // The same mapped file with another index, or with none.
  std::shared_ptr<const Segment> WithIndex(std::shared_ptr<const SegmentIndex> index) const;

 private:
  StoredRows RowsOf(std::string_view kind, int layer, int head) const;
  Segment(SegmentHead head, std::shared_ptr<const FileMapping> mapping,
          std::shared_ptr<const SegmentIndex> index);
  SegmentHead head_;
  std::shared_ptr<const FileMapping> mapping_;
  std::shared_ptr<const SegmentIndex> index_;
};

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_SEGMENT_H_
