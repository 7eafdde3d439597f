// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "memory_store/checked_file.h"
#include "memory_store/digest.h"
#include "memory_store/export_header.h"
#include "memory_store/memory_store.h"
#include "memory_store/store_impl.h"
#include "memory_store/transfer.h"

namespace mtm {
namespace {

// A segment's file, of which only blocks that match their checksums are given out.
class CheckedSegment {
 public:
  static absl::StatusOr<CheckedSegment> Open(FileSystem& file_system, const std::filesystem::path& path,
                                             std::string_view digest) {
    absl::StatusOr<SegmentHead> head = ReadSegmentHead(file_system, path, digest);
    if (!head.ok()) return head.status();
    absl::StatusOr<std::unique_ptr<File>> file = file_system.OpenFile(path);
    if (!file.ok()) return file.status();
    absl::StatusOr<std::vector<uint64_t>> table = ReadTable(**file, head->layout.data_size);
    if (!table.ok()) return WithPath(table.status(), path);
    table->push_back(BlockChecksum(std::as_bytes(std::span(*table))));
    return CheckedSegment(path, std::move(head->layout), *std::move(file), *std::move(table));
  }

  uint64_t size() const { return layout_.file_size(); }

  // Precondition: the range lies in the file.
  absl::Status Read(uint64_t offset, std::span<std::byte> out) const {
    while (!out.empty() && offset < layout_.data_size) {
      const uint64_t block = offset / kBlockSize, begin = block * kBlockSize;
      std::vector<std::byte> data(std::min(kBlockSize, layout_.data_size - begin));
      if (absl::Status status = file_->ReadAt(begin, data); !status.ok()) return WithPath(status, path_);
      if (BlockChecksum(data) != table_[block]) {
        return WithPath(BadBlock(block, layout_.data_size, layout_.sections), path_);
      }
      const auto part = std::span(data).subspan(offset - begin);
      const size_t n = std::min(part.size(), out.size());
      std::memcpy(out.data(), part.data(), n);
      offset += n;
      out = out.subspan(n);
    }
    if (!out.empty()) {
      const auto table = std::as_bytes(std::span(table_));
      std::memcpy(out.data(), table.data() + (offset - layout_.data_size), out.size());
    }
    return absl::OkStatus();
  }

 private:
  CheckedSegment(std::filesystem::path path, SegmentLayout layout, std::unique_ptr<File> file,
                 std::vector<uint64_t> table)
      : path_(std::move(path)),
        layout_(std::move(layout)),
        file_(std::move(file)),
        table_(std::move(table)) {}

  std::filesystem::path path_;
  SegmentLayout layout_;
  std::unique_ptr<File> file_;
  std::vector<uint64_t> table_;  // with its own checksum
};

class FileExport : public MemoryExport {
 public:
  using OnError = std::function<absl::Status(size_t segment, const absl::Status& status)>;

  FileExport(const ExportHeader& header, std::vector<CheckedSegment> segments, OnError on_error)
      : digest_(header.digest),
        header_(EncodeExportHeader(header)),
        segments_(std::move(segments)),
        on_error_(std::move(on_error)),
        size_(header_.size()) {
    for (const CheckedSegment& segment : segments_) size_ += segment.size();
  }

  const std::string& digest() const override { return digest_; }
  int64_t size() const override { return static_cast<int64_t>(size_); }

  absl::Status Read(int64_t offset, std::span<std::byte> out) const override {
    if (offset < 0 || static_cast<uint64_t>(offset) > size_ ||
        out.size() > size_ - static_cast<uint64_t>(offset)) {
      return absl::InvalidArgumentError(
          absl::StrCat(out.size(), " bytes from byte ", offset, " on of an export that has ", size_));
    }
    auto begin = static_cast<uint64_t>(offset);
    if (begin < header_.size()) {
      const size_t n = std::min<size_t>(header_.size() - begin, out.size());
      std::memcpy(out.data(), header_.data() + begin, n);
      out = out.subspan(n);
      begin += n;
    }
    uint64_t segment_begin = header_.size();
    for (size_t i = 0; i < segments_.size() && !out.empty(); segment_begin += segments_[i++].size()) {
      const uint64_t end = segment_begin + segments_[i].size();
      if (begin >= end) continue;
      const size_t n = std::min<size_t>(end - begin, out.size());
      const absl::Status status = segments_[i].Read(begin - segment_begin, out.first(n));
      if (!status.ok()) return on_error_(i, status);
      out = out.subspan(n);
      begin += n;
    }
    return absl::OkStatus();
  }

 private:
  const std::string digest_;
  const std::string header_;
  const std::vector<CheckedSegment> segments_;
  const OnError on_error_;
  uint64_t size_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<MemoryExport>> MemoryStore::Impl::OpenExport(const StoredVersion& version) {
  if (absl::Status damage = table_.Damage(version); !damage.ok()) return damage;
  ExportHeader header{.digest = version.digest, .source_digest = version.source_digest, .segments = {}};
  std::vector<CheckedSegment> segments;
  std::vector<uint64_t> stamps;
  for (const std::string& digest : version.segments) {
    stamps.push_back(table_.Find(digest).stamp);
    absl::StatusOr<CheckedSegment> segment =
        CheckedSegment::Open(folder_->file_system(), folder_->SegmentPath(digest), digest);
    if (!segment.ok()) return SegmentError(digest, stamps.back(), segment.status());
    header.segments.push_back({.digest = digest, .size_bytes = static_cast<int64_t>(segment->size())});
    segments.push_back(*std::move(segment));
  }
  const auto on_error = [store = weak_from_this(), digests = version.segments, stamps](
                            size_t segment, const absl::Status& status) {
    const std::shared_ptr<Impl> impl = store.lock();
    if (impl == nullptr || !absl::IsDataLoss(status)) return status;
    // Quarantined, where it was not removed meanwhile.
    impl->SegmentError(digests[segment], stamps[segment], status).IgnoreError();
    impl->Refresh();
    return status;
  };
  return std::make_unique<FileExport>(header, std::move(segments), on_error);
}

absl::StatusOr<std::unique_ptr<MemoryExport>> MemoryStore::Export(std::string_view reference) {
  for (;;) {
    const absl::StatusOr<FoundVersion> found = FindVersion(*impl_->catalog(), reference);
    if (!found.ok()) return found.status();
    absl::StatusOr<std::unique_ptr<MemoryExport>> opened = impl_->OpenExport(*found->version);
    impl_->Refresh();
    if (opened.ok()) return opened;
    if (!absl::IsAborted(opened.status())) return AboutVersion(*found, opened.status());
  }
}

}  // namespace mtm
