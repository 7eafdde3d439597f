// SPDX-License-Identifier: Apache-2.0
#include "memory_store/segment.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "memory_store/absl_view.h"
#include "memory_store/half.h"
#include "memory_store/segment_header.h"

namespace mtm {
namespace {

absl::StatusOr<SegmentHead> CheckedHead(const File& file, std::string_view digest) {
  const absl::StatusOr<std::vector<std::byte>> bytes = ReadHead(file, kSegmentMagic);
  if (!bytes.ok()) return bytes.status();
  absl::StatusOr<SegmentLayout> layout = DecodeHead(*bytes);
  if (!layout.ok()) return layout.status();
  if (absl::Status status = CheckFileSize(file, layout->file_size()); !status.ok()) return status;
  SegmentHead head{.layout = *std::move(layout), .digest = std::string(digest)};
  const std::string actual = VersionDigest(head.layout.spec, head.layout.windows);
  if (actual != digest) {
    return absl::DataLossError(absl::StrCat("it holds another segment, of digest ", actual));
  }
  return head;
}

struct OpenedSegment {
  SegmentHead head;
  std::shared_ptr<const FileMapping> mapping;
};

absl::StatusOr<OpenedSegment> Open(FileSystem& file_system, const std::filesystem::path& path,
                                   std::string_view digest, bool check_blocks, const ByteProgress& progress) {
  const absl::StatusOr<std::unique_ptr<File>> file = OpenChecked(file_system, path);
  if (!file.ok()) return file.status();
  absl::StatusOr<SegmentHead> head = CheckedHead(**file, digest);
  if (!head.ok()) return head.status();
  // Through reads rather than the mapping: a disk error is then an error and not a signal.
  if (check_blocks) {
    absl::Status status = CheckBlocks(**file, head->layout.data_size, head->layout.sections, progress);
    if (!status.ok()) return status;
  }
  absl::StatusOr<std::unique_ptr<FileMapping>> mapping = (*file)->Map();
  if (!mapping.ok()) return mapping.status();
  return OpenedSegment{.head = *std::move(head), .mapping = *std::move(mapping)};
}

}  // namespace

void StoredRows::Copy(int64_t first, std::span<float> out) const {
  assert(first >= 0 && out.size() <= static_cast<size_t>((n - first) * head_dim));
  const auto begin = static_cast<size_t>(first) * static_cast<size_t>(head_dim);
  if (dtype == DataType::kF16) {
    HalfToFloat({reinterpret_cast<const uint16_t*>(data) + begin, out.size()}, out);
  } else {
    std::memcpy(out.data(), data + begin * sizeof(float), out.size_bytes());
  }
}

absl::StatusOr<SegmentHead> ReadSegmentHead(FileSystem& file_system, const std::filesystem::path& path,
                                            std::string_view digest) {
  const absl::StatusOr<std::unique_ptr<File>> file = OpenChecked(file_system, path);
  absl::StatusOr<SegmentHead> head = file.ok() ? CheckedHead(**file, digest) : file.status();
  if (!head.ok()) return WithPath(head.status(), path);
  return head;
}

absl::StatusOr<std::shared_ptr<const Segment>> Segment::Load(FileSystem& file_system,
                                                             const std::filesystem::path& path,
                                                             std::string_view digest,
                                                             const ByteProgress& progress) {
  absl::StatusOr<OpenedSegment> opened = Open(file_system, path, digest, /*check_blocks=*/true, progress);
  if (!opened.ok()) return WithPath(opened.status(), path);
  return std::shared_ptr<const Segment>(
      new Segment(std::move(opened->head), std::move(opened->mapping), nullptr));
}

absl::StatusOr<std::shared_ptr<const Segment>> Segment::Adopt(FileSystem& file_system,
                                                              const std::filesystem::path& path,
                                                              std::string_view digest) {
  absl::StatusOr<OpenedSegment> opened = Open(file_system, path, digest, /*check_blocks=*/false, {});
  if (!opened.ok()) return WithPath(opened.status(), path);
  return std::shared_ptr<const Segment>(
      new Segment(std::move(opened->head), std::move(opened->mapping), nullptr));
}

Segment::Segment(SegmentHead head, std::shared_ptr<const FileMapping> mapping,
                 std::shared_ptr<const SegmentIndex> index)
    : head_(std::move(head)), mapping_(std::move(mapping)), index_(std::move(index)) {}

Segment::~Segment() = default;

int64_t Segment::size_bytes() const { return static_cast<int64_t>(head_.layout.file_size()); }

std::span<const int32_t> Segment::tokens() const {
  const std::byte* const begin = mapping_->bytes().data() + head_.layout.Find("tokens", 0).offset;
  return {reinterpret_cast<const int32_t*>(begin), static_cast<size_t>(n_tokens())};
}

StoredRows Segment::keys(int layer, int head) const { return RowsOf("keys", layer, head); }

StoredRows Segment::values(int layer, int head) const { return RowsOf("values", layer, head); }

StoredRows Segment::RowsOf(std::string_view kind, int layer, int head) const {
  assert(head >= 0 && head < spec().n_head);
  return {.dtype = spec().dtype,
          .data = mapping_->bytes().data() + head_.layout.RowOffset(kind, layer, head, 0),
          .n = n_tokens(),
          .head_dim = spec().head_dim};
}

absl::Status Segment::VerifyWindows(const ByteProgress& progress) const {
  const std::span<const std::byte> bytes = mapping_->bytes();
  int64_t done = 0;
  const ReadBytes read = [&](uint64_t offset, uint64_t size) -> absl::StatusOr<std::span<const std::byte>> {
    done += static_cast<int64_t>(size);
    if (progress) {
      if (absl::Status status = progress(done); !status.ok()) return status;
    }
    return bytes.subspan(offset, size);
  };
  int64_t first = 0;
  for (size_t i = 0; i < windows().size(); ++i) {
    const MemoryWindow& window = windows()[i];
    const absl::StatusOr<std::string> digest = WindowDigest(head_.layout, first, window.n_tokens, read);
    if (!digest.ok()) return digest.status();
    if (*digest != window.digest) {
      return absl::DataLossError(absl::StrCat("segment ", head_.digest, ": window ", i, " (rows ", first,
                                              " to ", first + window.n_tokens - 1,
                                              ") does not match its digest ", window.digest));
    }
    first += window.n_tokens;
  }
  return absl::OkStatus();
}

std::shared_ptr<const Segment> Segment::WithIndex(std::shared_ptr<const SegmentIndex> index) const {
  return std::shared_ptr<const Segment>(new Segment(head_, mapping_, std::move(index)));
}

}  // namespace mtm
