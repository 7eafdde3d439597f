// SPDX-License-Identifier: Apache-2.0
#include "memory_store/segment_writer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "memory_store/half.h"
#include "memory_store/segment.h"
#include "memory_store/segment_header.h"

namespace mtm {
namespace {

constexpr uint16_t kHalfExponent = 0x7c00;  // all ones: infinite or no number

bool AllFinite(std::span<const float> numbers) {
  return std::all_of(numbers.begin(), numbers.end(), [](float x) { return std::isfinite(x); });
}

bool AllFinite(std::span<const uint16_t> halves) {
  return std::all_of(halves.begin(), halves.end(),
                     [](uint16_t x) { return (x & kHalfExponent) != kHalfExponent; });
}

}  // namespace

struct SegmentWriter::Impl {
  SegmentLayout layout;
  std::unique_ptr<File> file;
  absl::Status broken;        // the first error of the disk, or Finish
  size_t n_begun = 0;         // windows
  bool window_open = false;   // the last of them is not closed
  int64_t first_row = 0;      // of the window that is open, or of the next one
  std::vector<bool> written;  // [layers kept, n_head], in the window
  std::vector<std::byte> buffer;

  // The window that is open. Precondition: one is.
  MemoryWindow& window() { return layout.windows[n_begun - 1]; }

  absl::Status Put(uint64_t offset, std::span<const std::byte> data) {
    return broken = file->WriteAt(offset, data);
  }

  absl::Status CheckNext(size_t n_tokens) const;
  absl::Status CloseWindow();
  void Advance(std::string digest);
  absl::StatusOr<std::span<const std::byte>> Read(uint64_t offset, uint64_t size);
  absl::StatusOr<std::span<const std::byte>> Encode(int layer, int head, std::span<const float> rows);
  absl::Status Seal();
};

absl::StatusOr<std::unique_ptr<SegmentWriter>> SegmentWriter::Create(
    FileSystem& file_system, std::filesystem::path path, MemorySpec spec,
    const std::vector<PlannedWindow>& windows) {
  if (absl::Status status = CheckSpec(spec); !status.ok()) return status;
  std::vector<MemoryWindow> planned;
  for (const PlannedWindow& window : windows) {
    planned.push_back({.n_tokens = window.n_tokens, .digest = "", .source = window.source});
  }
  if (absl::Status status = CheckWindows(spec, planned); !status.ok()) return status;
  SegmentLayout layout = LayOut(std::move(spec), std::move(planned));
  if (layout.sections.front().offset > kMaxHeaderSize) {
    return absl::InvalidArgumentError(absl::StrCat("memory: the labels of its ", windows.size(),
                                                   " windows have more than ", kMaxHeaderSize, " bytes"));
  }

  absl::StatusOr<std::unique_ptr<File>> file = file_system.CreateFile(path);
  if (!file.ok()) return file.status();
  std::unique_ptr<SegmentWriter> writer(new SegmentWriter(file_system, std::move(path)));
  writer->impl_ = std::make_unique<Impl>(Impl{.layout = std::move(layout), .file = *std::move(file)});
  if (absl::Status status = writer->impl_->file->Allocate(writer->impl_->layout.file_size()); !status.ok()) {
    return status;
  }
  return writer;
}

SegmentWriter::SegmentWriter(FileSystem& file_system, std::filesystem::path path)
    : file_system_(file_system), path_(std::move(path)) {}

SegmentWriter::~SegmentWriter() {
  file_system_.Remove(path_).IgnoreError();  // mostly renamed; the next open removes what is left
}

absl::Status SegmentWriter::BeginWindow(std::span<const int32_t> tokens) {
  if (absl::Status status = impl_->CloseWindow(); !status.ok()) return status;
  if (absl::Status status = impl_->CheckNext(tokens.size()); !status.ok()) return status;
  if (std::any_of(tokens.begin(), tokens.end(), [](int32_t token) { return token < 0; })) {
    return absl::InvalidArgumentError(absl::StrCat("window ", impl_->n_begun, ": a negative token id"));
  }
  const SegmentLayout& layout = impl_->layout;
  const uint64_t offset =
      layout.Find("tokens", 0).offset + static_cast<uint64_t>(impl_->first_row) * sizeof(int32_t);
  if (absl::Status status = impl_->Put(offset, std::as_bytes(tokens)); !status.ok()) return status;
  ++impl_->n_begun;
  impl_->window_open = true;
  impl_->written.assign(layout.spec.layers.size() * static_cast<size_t>(layout.spec.n_head), false);
  return absl::OkStatus();
}

absl::Status SegmentWriter::Write(int layer, int head, std::span<const float> keys,
                                  std::span<const float> values) {
  if (!impl_->broken.ok()) return impl_->broken;
  const SegmentLayout& layout = impl_->layout;
  const MemorySpec& spec = layout.spec;
  const auto slot = std::find(spec.layers.begin(), spec.layers.end(), layer);
  if (slot == spec.layers.end() || head < 0 || head >= spec.n_head) {
    return absl::InvalidArgumentError(absl::StrCat("rows: layer ", layer, ", head ", head, " is not kept"));
  }
  if (!impl_->window_open) return absl::FailedPreconditionError("rows: no window was begun");
  const auto size = static_cast<size_t>(impl_->window().n_tokens) * static_cast<size_t>(spec.head_dim);
  if (keys.size() != size || values.size() != size) {
    return absl::InvalidArgumentError(absl::StrCat("rows of layer ", layer, ", head ", head, ": ",
                                                   keys.size(), " and ", values.size(),
                                                   " numbers instead of ", size));
  }
  const auto index = static_cast<size_t>(slot - spec.layers.begin()) * static_cast<size_t>(spec.n_head) +
                     static_cast<size_t>(head);
  if (impl_->written[index]) {
    return absl::FailedPreconditionError(
        absl::StrCat("rows of layer ", layer, ", head ", head, ": written before in this window"));
  }
  for (const auto& [kind, rows] : {std::pair("keys", keys), std::pair("values", values)}) {
    const absl::StatusOr<std::span<const std::byte>> bytes = impl_->Encode(layer, head, rows);
    if (!bytes.ok()) return bytes.status();
    const uint64_t offset = layout.RowOffset(kind, layer, head, impl_->first_row);
    if (absl::Status status = impl_->Put(offset, *bytes); !status.ok()) return status;
  }
  impl_->written[index] = true;
  return absl::OkStatus();
}

absl::Status SegmentWriter::CopyWindow(const Segment& from, size_t window) {
  if (absl::Status status = impl_->CloseWindow(); !status.ok()) return status;
  const SegmentLayout& layout = impl_->layout;
  if (from.spec() != layout.spec) {
    return absl::InvalidArgumentError("window: it is to be copied from a memory of another spec");
  }
  const MemoryWindow& source = from.windows()[window];
  const auto n = static_cast<size_t>(source.n_tokens);
  if (absl::Status status = impl_->CheckNext(n); !status.ok()) return status;
  int64_t first = 0;
  for (size_t i = 0; i < window; ++i) first += from.windows()[i].n_tokens;
  const std::span<const int32_t> tokens = from.tokens().subspan(static_cast<size_t>(first), n);
  if (absl::Status status = BeginWindow(tokens); !status.ok()) return status;
  for (const int layer : layout.spec.layers) {
    for (int head = 0; head < layout.spec.n_head; ++head) {
      for (const auto& [kind, rows] :
           {std::pair("keys", from.keys(layer, head)), std::pair("values", from.values(layer, head))}) {
        const std::byte* const begin = rows.data + static_cast<size_t>(first) * layout.RowSize();
        const uint64_t offset = layout.RowOffset(kind, layer, head, impl_->first_row);
        absl::Status status = impl_->Put(offset, {begin, n * layout.RowSize()});
        if (!status.ok()) return status;
      }
    }
  }
  // Not computed anew: bytes that were damaged meanwhile must not get a digest of their own.
  impl_->Advance(source.digest);
  return absl::OkStatus();
}

absl::StatusOr<std::string> SegmentWriter::Finish() {
  if (absl::Status status = impl_->CloseWindow(); !status.ok()) return status;
  const SegmentLayout& layout = impl_->layout;
  if (impl_->n_begun != layout.windows.size()) {
    return absl::FailedPreconditionError(absl::StrCat(layout.windows.size() - impl_->n_begun, " of ",
                                                      layout.windows.size(), " windows are missing"));
  }
  if (absl::Status status = impl_->Seal(); !status.ok()) return status;
  // The file may be in use under its digest from now on.
  impl_->broken = absl::FailedPreconditionError("this writer has committed already");
  return VersionDigest(layout.spec, layout.windows);
}

absl::Status SegmentWriter::Impl::CheckNext(size_t n_tokens) const {
  if (n_begun == layout.windows.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("window ", n_begun, ": only ", layout.windows.size(), " were planned"));
  }
  const auto planned = static_cast<size_t>(layout.windows[n_begun].n_tokens);
  if (n_tokens == planned) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("window ", n_begun, ": ", n_tokens, " tokens, where ", planned, " were planned"));
}

// Checks that the window is complete, if one is open, and takes its digest.
absl::Status SegmentWriter::Impl::CloseWindow() {
  if (!broken.ok()) return broken;
  if (!window_open) return absl::OkStatus();
  const auto missing = std::find(written.begin(), written.end(), false);
  if (missing != written.end()) {
    const auto index = static_cast<size_t>(missing - written.begin());
    const auto n_head = static_cast<size_t>(layout.spec.n_head);
    return absl::FailedPreconditionError(absl::StrCat("rows of layer ", layout.spec.layers[index / n_head],
                                                      ", head ", index % n_head, " are missing from window ",
                                                      n_begun - 1));
  }
  const auto read = [this](uint64_t offset, uint64_t size) { return Read(offset, size); };
  absl::StatusOr<std::string> digest = WindowDigest(layout, first_row, window().n_tokens, read);
  if (!digest.ok()) return broken = digest.status();
  Advance(*std::move(digest));
  return absl::OkStatus();
}

void SegmentWriter::Impl::Advance(std::string digest) {
  window().digest = std::move(digest);
  first_row += window().n_tokens;
  window_open = false;
}

absl::StatusOr<std::span<const std::byte>> SegmentWriter::Impl::Read(uint64_t offset, uint64_t size) {
  buffer.resize(size);
  if (absl::Status status = file->ReadAt(offset, buffer); !status.ok()) return status;
  return buffer;
}

// Rows as they are stored; valid until the next call.
absl::StatusOr<std::span<const std::byte>> SegmentWriter::Impl::Encode(int layer, int head,
                                                                       std::span<const float> rows) {
  if (!AllFinite(rows)) {
    return absl::InvalidArgumentError(
        absl::StrCat("rows of layer ", layer, ", head ", head, ": a number is not finite"));
  }
  if (layout.spec.dtype == DataType::kF32) return std::as_bytes(rows);
  buffer.resize(rows.size() * sizeof(uint16_t));
  const std::span halves(reinterpret_cast<uint16_t*>(buffer.data()), rows.size());
  FloatToHalf(rows, halves);
  if (!AllFinite(halves)) {
    return absl::InvalidArgumentError(absl::StrCat("rows of layer ", layer, ", head ", head,
                                                   ": a number is too large for F16, which ends at 65504"));
  }
  return buffer;
}

absl::Status SegmentWriter::Impl::Seal() {
  const std::string head = EncodeHead(layout);
  if (absl::Status status = Put(0, std::as_bytes(std::span(head))); !status.ok()) return status;
  return broken = SealFile(*file, layout.data_size);
}

}  // namespace mtm
