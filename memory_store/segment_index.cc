// SPDX-License-Identifier: Apache-2.0
#include "memory_store/segment_index.h"

#include <algorithm>
#include <cassert>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "memory_store/checked_file.h"
#include "memory_store/inverted_file.h"
#include "memory_store/segment.h"
#include "memory_store/segment_index_data.h"
#include "memory_store/segment_index_header.h"

namespace mtm {
namespace {

using Lists = SegmentIndex::Data::Lists;

// Calls visit(offset in the file, bytes) for the three parts of one (layer, head).
template <typename Data, typename Visit>
absl::Status ForEachPart(Data& data, size_t index, Visit visit) {
  const auto n_head = static_cast<size_t>(data.spec.n_head);
  const int layer = data.spec.layers[index / n_head];
  const auto part = [&](std::string_view kind, auto& numbers) {
    const auto bytes = std::span(numbers);
    return visit(data.head.Find(kind, layer).offset + index % n_head * bytes.size_bytes(), bytes);
  };
  auto& lists = data.lists[index];
  if (absl::Status status = part("centroids", lists.centroids); !status.ok()) return status;
  if (absl::Status status = part("list_begins", lists.list_begins); !status.ok()) return status;
  return part("rows", lists.rows);
}

// Does each row stand in exactly one list?
absl::Status CheckLists(const Lists& lists) {
  const auto n_rows = static_cast<uint32_t>(lists.rows.size());
  if (lists.list_begins.front() != 0 || lists.list_begins.back() != n_rows ||
      !std::is_sorted(lists.list_begins.begin(), lists.list_begins.end())) {
    return absl::DataLossError("its lists do not follow one another");
  }
  std::vector<bool> seen(n_rows);
  for (const uint32_t row : lists.rows) {
    if (row >= n_rows || seen[row]) {
      return absl::DataLossError(absl::StrCat("row ", row, " is not there, or stands in two lists"));
    }
    seen[row] = true;
  }
  return absl::OkStatus();
}

absl::StatusOr<SegmentIndex::Data> Read(FileSystem& file_system, const std::filesystem::path& path,
                                        const Segment& segment) {
  const absl::StatusOr<std::unique_ptr<File>> file = OpenChecked(file_system, path);
  if (!file.ok()) return file.status();
  const absl::StatusOr<std::vector<std::byte>> bytes = ReadHead(**file, kIndexMagic);
  if (!bytes.ok()) return bytes.status();
  absl::StatusOr<SegmentIndexHead> head = DecodeIndexHead(*bytes);
  if (!head.ok()) return head.status();
  absl::Status status = CheckFileSize(**file, head->file_size());
  if (!status.ok()) return status;
  const MemorySpec& spec = segment.spec();
  status = CheckIndexHead(*head, segment.digest(), spec, segment.n_tokens());
  if (!status.ok()) return status;
  if (status = CheckBlocks(**file, head->data_size, head->sections); !status.ok()) return status;

  const auto n_head = static_cast<size_t>(spec.n_head);
  const auto n_list = static_cast<size_t>(head->n_list);
  SegmentIndex::Data data{.head = *std::move(head), .spec = spec};
  data.lists.resize(spec.layers.size() * n_head);
  for (size_t i = 0; i < data.lists.size(); ++i) {
    Lists& lists = data.lists[i];
    lists.centroids.resize(n_list * static_cast<size_t>(spec.head_dim));
    lists.list_begins.resize(n_list + 1);
    lists.rows.resize(static_cast<size_t>(segment.n_tokens()));
    lists.n_probe = data.head.n_probe[i / n_head][i % n_head];
    status = ForEachPart(data, i, [&](uint64_t offset, auto numbers) {
      return (*file)->ReadAt(offset, std::as_writable_bytes(numbers));
    });
    if (status.ok()) status = CheckLists(lists);
    if (!status.ok()) return status;
  }
  return data;
}

absl::Status WriteAll(File& file, const SegmentIndex::Data& data) {
  if (absl::Status status = file.Allocate(data.head.file_size()); !status.ok()) return status;
  const std::string head = EncodeHead(data.head);
  if (absl::Status status = file.WriteAt(0, std::as_bytes(std::span(head))); !status.ok()) return status;
  for (size_t i = 0; i < data.lists.size(); ++i) {
    const absl::Status status = ForEachPart(
        data, i, [&](uint64_t offset, auto numbers) { return file.WriteAt(offset, std::as_bytes(numbers)); });
    if (!status.ok()) return status;
  }
  return SealFile(file, data.head.data_size);
}

}  // namespace

SegmentIndex::SegmentIndex(std::unique_ptr<const Data> data) : data_(std::move(data)) {}

SegmentIndex::~SegmentIndex() = default;

double SegmentIndex::recall() const { return data_->head.recall; }

int SegmentIndex::n_list() const { return data_->head.n_list; }

absl::StatusOr<std::shared_ptr<const SegmentIndex>> SegmentIndex::Load(FileSystem& file_system,
                                                                       const std::filesystem::path& path,
                                                                       const Segment& segment) {
  absl::StatusOr<Data> data = Read(file_system, path, segment);
  if (!data.ok()) return WithPath(data.status(), path);
  return std::shared_ptr<const SegmentIndex>(
      new SegmentIndex(std::make_unique<const Data>(*std::move(data))));
}

absl::Status SegmentIndex::Write(FileSystem& file_system, const std::filesystem::path& path) const {
  absl::StatusOr<std::unique_ptr<File>> file = file_system.CreateFile(path);
  if (!file.ok()) return file.status();
  absl::Status status = WriteAll(**file, *data_);
  if (!status.ok()) file_system.Remove(path).IgnoreError();  // the next open removes what is left
  return status;
}

void SegmentIndex::Propose(int layer, int head, std::span<const float> query,
                           std::vector<uint32_t>& rows) const {
  const std::vector<int>& layers = data_->spec.layers;
  const auto slot = std::lower_bound(layers.begin(), layers.end(), layer) - layers.begin();
  const Lists& lists = data_->lists[static_cast<size_t>(slot * data_->spec.n_head + head)];
  rows.clear();
  for (const uint32_t list : NearestLists(lists.centroids, query, static_cast<size_t>(lists.n_probe))) {
    rows.insert(rows.end(), lists.rows.begin() + lists.list_begins[list],
                lists.rows.begin() + lists.list_begins[list + 1]);
  }
}

}  // namespace mtm
