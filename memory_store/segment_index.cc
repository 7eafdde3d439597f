// SPDX-License-Identifier: Apache-2.0
#include "memory_store/segment_index.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "memory_store/checked_file.h"
#include "memory_store/code_search.h"
#include "memory_store/segment.h"
#include "memory_store/segment_index_data.h"
#include "memory_store/segment_index_header.h"

namespace mtm {
namespace {

// More than k, so that what codes round away costs no neighbour.
constexpr size_t kExtraRows = 48;

// Times as many as are proposed: where keys lie in clumps, the nearest lists may have hardly more than these,
// and the nearest keys be in others.
constexpr size_t kRowsLookedAt = 8;

// The numbers of one (layer, head) in a section of the mapped file.
template <typename Number>
std::span<const Number> Part(const SegmentIndex::Data& data, std::string_view kind, size_t index) {
  const auto n_head = static_cast<size_t>(data.spec.n_head);
  const FilePart part =
      data.head.Part(kind, data.spec.layers[index / n_head], static_cast<int>(index % n_head), data.spec);
  return {reinterpret_cast<const Number*>(data.mapping->bytes().data() + part.offset),
          part.size / sizeof(Number)};
}

InvertedFile FileAt(const SegmentIndex::Data& data, size_t index) {
  return {.centroids = Part<float>(data, "centroids", index),
          .list_begins = Part<uint32_t>(data, "list_begins", index),
          .rows = Part<uint32_t>(data, "rows", index),
          .scales = Part<float>(data, "scales", index),
          .codes = Part<uint8_t>(data, "codes", index)};
}

// Does each row stand in exactly one list?
absl::Status CheckLists(const InvertedFile& file) {
  const auto n_rows = static_cast<uint32_t>(file.rows.size());
  if (file.list_begins.front() != 0 || file.list_begins.back() != n_rows ||
      !std::is_sorted(file.list_begins.begin(), file.list_begins.end())) {
    return absl::DataLossError("its lists do not follow one another");
  }
  std::vector<bool> seen(n_rows);
  for (const uint32_t row : file.rows) {
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

  absl::StatusOr<std::unique_ptr<FileMapping>> mapping = (*file)->Map();
  if (!mapping.ok()) return mapping.status();
  SegmentIndex::Data data{
      .head = *std::move(head), .spec = spec, .mapping = *std::move(mapping), .files = {}};
  const size_t n_files = spec.layers.size() * static_cast<size_t>(spec.n_head);
  for (size_t i = 0; i < n_files; ++i) {
    data.files.push_back(FileAt(data, i));
    if (status = CheckLists(data.files.back()); !status.ok()) return status;
  }
  return data;
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

std::vector<std::vector<uint32_t>> SegmentIndex::Propose(int layer, int head, std::span<const float> queries,
                                                         int k) const {
  const std::vector<int>& layers = data_->spec.layers;
  const auto slot = std::lower_bound(layers.begin(), layers.end(), layer) - layers.begin();
  const auto index = static_cast<size_t>(slot * data_->spec.n_head + head);
  return ProposeRows(data_->files[index], data_->n_probe(index), queries, k);
}

std::vector<std::vector<uint32_t>> ProposeRows(const InvertedFile& file, int n_probe,
                                               std::span<const float> queries, int k) {
  const size_t n = static_cast<size_t>(k) + kExtraRows;
  const auto lists = NearestLists(file, queries, static_cast<size_t>(n_probe), kRowsLookedAt * n);
  return NearestByCodes(file, lists, queries, n);
}

}  // namespace mtm
