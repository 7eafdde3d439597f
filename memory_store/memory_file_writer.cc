// SPDX-License-Identifier: Apache-2.0
#include "memory_store/memory_file_writer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "memory_store/digest.h"
#include "memory_store/memory_file.h"
#include "memory_store/memory_header.h"

namespace mtm {
namespace {

bool AllFinite(std::span<const float> numbers) {
  return std::all_of(numbers.begin(), numbers.end(), [](float x) { return std::isfinite(x); });
}

}  // namespace

absl::StatusOr<std::unique_ptr<MemoryFileWriter>> MemoryFileWriter::Create(FileSystem& file_system,
                                                                           std::filesystem::path path,
                                                                           MemorySpec spec) {
  if (absl::Status status = CheckSpec(spec); !status.ok()) return status;
  absl::StatusOr<std::unique_ptr<File>> file = file_system.CreateFile(path);
  if (!file.ok()) return file.status();
  std::unique_ptr<MemoryFileWriter> writer(
      new MemoryFileWriter(file_system, std::move(path), std::move(spec)));
  writer->file_ = *std::move(file);
  if (absl::Status status = writer->file_->Allocate(writer->layout_.file_size()); !status.ok()) return status;
  const std::string head = EncodeHead(writer->layout_);
  if (absl::Status status = writer->Put(0, std::as_bytes(std::span(head))); !status.ok()) return status;
  return writer;
}

MemoryFileWriter::MemoryFileWriter(FileSystem& file_system, std::filesystem::path path, MemorySpec spec)
    : file_system_(file_system),
      path_(std::move(path)),
      layout_(LayOut(std::move(spec))),
      written_(layout_.spec.layers.size() * static_cast<size_t>(layout_.spec.n_head)) {}

MemoryFileWriter::~MemoryFileWriter() {
  if (!released_) file_system_.Remove(path_).IgnoreError();  // the next open removes what is left
}

absl::Status MemoryFileWriter::BeginWindow(std::span<const int32_t> tokens) {
  if (!broken_.ok()) return broken_;
  if (absl::Status status = CheckWindowComplete(); !status.ok()) return status;
  const int64_t begin = window_begin_ + window_size_;
  const int64_t left = layout_.spec.n_tokens - begin;
  if (tokens.empty()) return absl::InvalidArgumentError("window: no tokens");
  if (tokens.size() > static_cast<size_t>(left)) {
    return absl::InvalidArgumentError(absl::StrCat("window: ", tokens.size(), " tokens, where ", left, " of ",
                                                   layout_.spec.n_tokens, " are left"));
  }
  if (std::any_of(tokens.begin(), tokens.end(), [](int32_t token) { return token < 0; })) {
    return absl::InvalidArgumentError("window: a negative token id");
  }
  const uint64_t offset = layout_.Find("tokens", 0).offset + static_cast<uint64_t>(begin) * sizeof(int32_t);
  if (absl::Status status = Put(offset, std::as_bytes(tokens)); !status.ok()) return status;
  window_begin_ = begin;
  window_size_ = static_cast<int64_t>(tokens.size());
  written_.assign(written_.size(), false);
  return absl::OkStatus();
}

absl::Status MemoryFileWriter::Write(int layer, int head, std::span<const float> keys,
                                     std::span<const float> values) {
  if (!broken_.ok()) return broken_;
  const MemorySpec& spec = layout_.spec;
  const auto slot = std::find(spec.layers.begin(), spec.layers.end(), layer);
  if (slot == spec.layers.end() || head < 0 || head >= spec.n_head) {
    return absl::InvalidArgumentError(absl::StrCat("rows: layer ", layer, ", head ", head, " is not kept"));
  }
  if (window_size_ == 0) return absl::FailedPreconditionError("rows: no window was begun");
  const auto size = static_cast<size_t>(window_size_) * static_cast<size_t>(spec.head_dim);
  if (keys.size() != size || values.size() != size) {
    return absl::InvalidArgumentError(absl::StrCat("rows of layer ", layer, ", head ", head, ": ",
                                                   keys.size(), " and ", values.size(),
                                                   " numbers instead of ", size));
  }
  if (!AllFinite(keys) || !AllFinite(values)) {
    return absl::InvalidArgumentError(
        absl::StrCat("rows of layer ", layer, ", head ", head, ": a number is not finite"));
  }
  const auto index = static_cast<size_t>(slot - spec.layers.begin()) * static_cast<size_t>(spec.n_head) +
                     static_cast<size_t>(head);
  if (written_[index]) {
    return absl::FailedPreconditionError(
        absl::StrCat("rows of layer ", layer, ", head ", head, ": written before in this window"));
  }
  if (absl::Status status = WriteRows("keys", layer, head, keys); !status.ok()) return status;
  if (absl::Status status = WriteRows("values", layer, head, values); !status.ok()) return status;
  written_[index] = true;
  return absl::OkStatus();
}

absl::StatusOr<std::string> MemoryFileWriter::Finish() {
  if (!broken_.ok()) return broken_;
  if (absl::Status status = CheckWindowComplete(); !status.ok()) return status;
  const int64_t n_written = window_begin_ + window_size_;
  if (n_written != layout_.spec.n_tokens) {
    return absl::FailedPreconditionError(
        absl::StrCat("rows of ", layout_.spec.n_tokens - n_written, " tokens are missing"));
  }
  const absl::StatusOr<std::string> digest = Seal();
  // The file may be in use under its digest from now on.
  broken_ =
      digest.ok() ? absl::FailedPreconditionError("this writer has committed already") : digest.status();
  return digest;
}

absl::StatusOr<std::string> MemoryFileWriter::Seal() {
  // The end first: the zeros before it are then part of the file, and are read.
  std::vector<std::byte> end(layout_.TableSize());
  if (absl::Status status = Put(layout_.data_size, end); !status.ok()) return status;
  Sha256 sha256;
  absl::Status status =
      ForEachBlock(*file_, layout_.data_size, [&](uint64_t block, std::span<const std::byte> data) {
        sha256.Update(data);
        const uint64_t checksum = BlockChecksum(data);
        std::memcpy(&end[block * sizeof(checksum)], &checksum, sizeof(checksum));
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  const Sha256Digest digest = sha256.Finish();
  const std::span<std::byte> covered = std::span(end).first(end.size() - sizeof(uint64_t));
  std::copy(digest.begin(), digest.end(), covered.end() - sizeof(digest));
  const uint64_t checksum = BlockChecksum(covered);
  std::memcpy(&end[covered.size()], &checksum, sizeof(checksum));
  if (status = Put(layout_.data_size, end); !status.ok()) return status;
  if (status = file_->Sync(); !status.ok()) return status;
  return ToHex(digest);
}

absl::Status MemoryFileWriter::CheckWindowComplete() const {
  if (window_size_ == 0) return absl::OkStatus();
  const auto missing = std::find(written_.begin(), written_.end(), false);
  if (missing == written_.end()) return absl::OkStatus();
  const auto index = static_cast<size_t>(missing - written_.begin());
  const auto n_head = static_cast<size_t>(layout_.spec.n_head);
  return absl::FailedPreconditionError(absl::StrCat("rows of layer ", layout_.spec.layers[index / n_head],
                                                    ", head ", index % n_head,
                                                    " are missing from the window at token ", window_begin_));
}

absl::Status MemoryFileWriter::WriteRows(std::string_view kind, int layer, int head,
                                         std::span<const float> rows) {
  const MemorySpec& spec = layout_.spec;
  const int64_t row = head * spec.n_tokens + window_begin_;
  const uint64_t offset = static_cast<uint64_t>(row) * static_cast<uint64_t>(spec.head_dim) * sizeof(float);
  return Put(layout_.Find(kind, layer).offset + offset, std::as_bytes(rows));
}

absl::Status MemoryFileWriter::Put(uint64_t offset, std::span<const std::byte> data) {
  broken_ = file_->WriteAt(offset, data);
  return broken_;
}

}  // namespace mtm
