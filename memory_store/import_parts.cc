// SPDX-License-Identifier: Apache-2.0
#include "memory_store/import_parts.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "memory_store/store_files.h"

namespace mtm {
namespace {

// Without its newline; empty: there is none, or it was not written to its end.
absl::StatusOr<std::string> ReadLine(FileSystem& file_system, const std::filesystem::path& path) {
  const absl::StatusOr<std::unique_ptr<File>> file = file_system.OpenFile(path);
  if (absl::IsNotFound(file.status())) return std::string();
  if (!file.ok()) return file.status();
  const absl::StatusOr<uint64_t> size = (*file)->Size();
  if (!size.ok()) return size.status();
  if (*size > kMaxExportHeaderSize) return std::string();
  std::string line(*size, '\0');
  if (absl::Status status = (*file)->ReadAt(0, std::as_writable_bytes(std::span(line))); !status.ok()) {
    return status;
  }
  if (line.empty() || line.back() != '\n') return std::string();
  line.pop_back();
  return line;
}

}  // namespace

absl::StatusOr<ImportParts> ImportParts::TakeUp(FileSystem& file_system, std::filesystem::path folder,
                                                std::string digest, int64_t total_bytes) {
  ImportParts parts(file_system, std::move(folder), std::move(digest), total_bytes);
  const absl::StatusOr<std::string> line = ReadLine(file_system, parts.folder_ / kHeaderPart);
  if (!line.ok()) return line.status();
  if (!line->empty() && parts.SetHeader(*line).ok()) {
    if (absl::Status status = parts.FindPosition(); !status.ok()) return status;
  } else {
    parts.Discard();
  }
  return parts;
}

absl::Status ImportParts::SetHeader(std::string_view line) {
  absl::StatusOr<ExportHeader> header = DecodeExportHeader(line);
  if (!header.ok()) return header.status();
  int64_t total = static_cast<int64_t>(line.size()) + 1;
  for (const ExportHeader::Segment& segment : header->segments) total += segment.size_bytes;
  if (header->digest != digest_ || total != total_bytes_) {
    return absl::InvalidArgumentError(absl::StrCat("the bytes are an export of version ", header->digest,
                                                   " of ", total, " bytes, and not of ", digest_, " of ",
                                                   total_bytes_));
  }
  n_bytes_ = static_cast<int64_t>(line.size()) + 1;
  header_ = *std::move(header);
  return absl::OkStatus();
}

absl::Status ImportParts::FindPosition() {
  const std::vector<ExportHeader::Segment>& segments = header_->segments;
  for (; segment_ < segments.size(); ++segment_) {
    const absl::StatusOr<std::unique_ptr<File>> file = file_system_->OpenFile(path(segment_));
    if (absl::IsNotFound(file.status())) break;
    if (!file.ok()) return file.status();
    const absl::StatusOr<uint64_t> size = (*file)->Size();
    if (!size.ok()) return size.status();
    if (*size > static_cast<uint64_t>(segments[segment_].size_bytes)) break;  // not what it should be
    n_bytes_ += static_cast<int64_t>(*size);
    segment_bytes_ = static_cast<int64_t>(*size);
    if (segment_bytes_ < segments[segment_].size_bytes) break;
    segment_bytes_ = 0;
  }
  // What lies behind comes again.
  for (size_t later = segment_ + (segment_bytes_ > 0 ? 1 : 0); later < segments.size(); ++later) {
    const absl::Status status = file_system_->Remove(path(later));
    if (!status.ok() && !absl::IsNotFound(status)) return status;
  }
  return absl::OkStatus();
}

absl::Status ImportParts::Append(std::span<const std::byte> data) {
  if (data.size() > static_cast<uint64_t>(n_bytes_missing())) {
    return absl::InvalidArgumentError(
        absl::StrCat("more bytes than the ", total_bytes_, " that the import was to have"));
  }
  absl::Status status;
  while (!data.empty() && status.ok()) {
    status = header_.has_value() ? AppendToSegment(data) : AppendToHeader(data);
  }
  return status;
}

absl::Status ImportParts::AppendToHeader(std::span<const std::byte>& data) {
  const auto end = std::find(data.begin(), data.end(), std::byte{'\n'});
  const auto n = static_cast<size_t>(end - data.begin());
  if (line_.size() + n >= kMaxExportHeaderSize) {
    return absl::InvalidArgumentError("the first line of the bytes is too long for an export's");
  }
  line_.append(reinterpret_cast<const char*>(data.data()), n);
  data = data.subspan(n);
  if (data.empty()) return absl::OkStatus();
  data = data.subspan(1);
  if (absl::Status status = SetHeader(line_); !status.ok()) return status;
  line_ += '\n';
  if (absl::Status status = file_system_->CreateFolder(folder_); !status.ok()) return status;
  const absl::StatusOr<std::unique_ptr<File>> file = file_system_->CreateFile(folder_ / kHeaderPart);
  if (!file.ok()) return file.status();
  return (*file)->WriteAt(0, std::as_bytes(std::span(line_)));
}

absl::Status ImportParts::AppendToSegment(std::span<const std::byte>& data) {
  const int64_t size = header_->segments[segment_].size_bytes;
  if (file_ == nullptr) {
    absl::StatusOr<std::unique_ptr<File>> file = segment_bytes_ > 0
                                                     ? file_system_->OpenToWrite(path(segment_))
                                                     : file_system_->CreateFile(path(segment_));
    if (!file.ok()) return file.status();
    file_ = *std::move(file);
    if (absl::Status status = file_->Allocate(static_cast<uint64_t>(size)); !status.ok()) return status;
  }
  const std::span<const std::byte> part =
      data.first(std::min(data.size(), static_cast<size_t>(size - segment_bytes_)));
  if (absl::Status status = file_->WriteAt(static_cast<uint64_t>(segment_bytes_), part); !status.ok()) {
    return status;
  }
  data = data.subspan(part.size());
  n_bytes_ += static_cast<int64_t>(part.size());
  segment_bytes_ += static_cast<int64_t>(part.size());
  if (segment_bytes_ == size) {
    file_.reset();
    segment_bytes_ = 0;
    ++segment_;
  }
  return absl::OkStatus();
}

std::filesystem::path ImportParts::path(size_t segment) const {
  return folder_ / absl::StrCat(segment, kPartSuffix);
}

absl::Status ImportParts::Sync() const {
  for (size_t i = 0; i < header_->segments.size(); ++i) {
    const absl::StatusOr<std::unique_ptr<File>> file = file_system_->OpenToWrite(path(i));
    if (!file.ok()) return file.status();
    if (absl::Status status = (*file)->Sync(); !status.ok()) return status;
  }
  return absl::OkStatus();
}

void ImportParts::Discard() {
  file_.reset();
  const absl::StatusOr<std::vector<std::string>> files = file_system_->ListFolder(folder_);
  if (!files.ok()) return;
  for (const std::string& file : *files) file_system_->Remove(folder_ / file).IgnoreError();
  file_system_->Remove(folder_).IgnoreError();
}

}  // namespace mtm
