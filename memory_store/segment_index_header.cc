// SPDX-License-Identifier: Apache-2.0
#include "memory_store/segment_index_header.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "memory_store/absl_view.h"
#include "memory_store/digest.h"
#include "memory_store/json_fields.h"
#include "memory_store/residual_codes.h"

namespace mtm {
namespace {

using Json = nlohmann::json;

constexpr std::array<std::string_view, 5> kKinds = {"centroids", "list_begins", "rows", "scales", "codes"};
constexpr int64_t kMaxInt = std::numeric_limits<int>::max();

uint64_t SizeOf(std::string_view kind, const MemorySpec& spec, int n_list, int64_t n_tokens) {
  const auto n_head = static_cast<uint64_t>(spec.n_head);
  const auto lists = static_cast<uint64_t>(n_list);
  if (kind == "centroids") return sizeof(float) * n_head * lists * static_cast<uint64_t>(spec.head_dim);
  if (kind == "list_begins") return sizeof(uint32_t) * n_head * (lists + 1);
  if (kind == "scales") return sizeof(float) * n_head * static_cast<uint64_t>(spec.head_dim);
  if (kind == "codes") return n_head * CodesSize(n_tokens, spec.head_dim);
  return sizeof(uint32_t) * n_head * static_cast<uint64_t>(n_tokens);
}

absl::StatusOr<std::vector<std::vector<int>>> DecodeProbes(const Json& header, int n_list) {
  const absl::Status malformed = absl::DataLossError(
      absl::StrCat("field 'n_probe' is not lists of integers from 1 to ", n_list, ", by layer and head"));
  const auto field = header.find("n_probe");
  if (field == header.end() || !field->is_array()) return malformed;
  std::vector<std::vector<int>> decoded;
  for (const Json& heads : *field) {
    if (!heads.is_array()) return malformed;
    decoded.emplace_back();
    for (const Json& n_probe : heads) {
      if (!n_probe.is_number_unsigned() || n_probe.get<uint64_t>() < 1 ||
          n_probe.get<uint64_t>() > static_cast<uint64_t>(n_list)) {
        return malformed;
      }
      decoded.back().push_back(n_probe.get<int>());
    }
  }
  return decoded;
}

}  // namespace

const FileSection& SegmentIndexHead::Find(std::string_view kind, int layer) const {
  return *std::find_if(sections.begin(), sections.end(),
                       [&](const FileSection& s) { return s.kind == kind && s.layer == layer; });
}

FilePart SegmentIndexHead::Part(std::string_view kind, int layer, int head, const MemorySpec& spec) const {
  const FileSection& section = Find(kind, layer);
  const uint64_t size = section.size / static_cast<uint64_t>(spec.n_head);
  return {.offset = section.offset + static_cast<uint64_t>(head) * size, .size = size};
}

void LayOut(SegmentIndexHead& head, const MemorySpec& spec, int64_t n_tokens) {
  head.sections.clear();
  for (const int layer : spec.layers) {
    for (const std::string_view kind : kKinds) {
      head.sections.push_back(
          {.kind = std::string(kind), .layer = layer, .size = SizeOf(kind, spec, head.n_list, n_tokens)});
    }
  }
  SegmentIndexHead longest = head;
  longest.recall = std::numeric_limits<double>::denorm_min();
  longest.n_probe.assign(spec.layers.size(), std::vector<int>(static_cast<size_t>(spec.n_head), head.n_list));
  head.data_size = PlaceAfterHead(head.sections, [&](uint64_t data_size) {
    longest.data_size = data_size;
    longest.sections = head.sections;
    return EncodeHead(longest).size();
  });
}

std::string EncodeHead(const SegmentIndexHead& head) {
  const Json header = {{"n_list", head.n_list}, {"n_probe", head.n_probe},
                       {"recall", head.recall}, {"sections", EncodeSections(head.sections)},
                       {"seed", head.seed},     {"segment", head.segment}};
  return EncodeHead(kIndexMagic, header.dump(), head.data_size);
}

absl::StatusOr<SegmentIndexHead> DecodeIndexHead(std::span<const std::byte> bytes) {
  const absl::StatusOr<FileHead> decoded = DecodeHead(kIndexMagic, bytes);
  if (!decoded.ok()) return decoded.status();
  const Json& header = decoded->header;
  absl::StatusOr<std::string> segment = StringField(header, "segment");
  const absl::StatusOr<int64_t> n_list = IntField(header, "n_list", kMaxInt - 1);
  absl::StatusOr<std::vector<FileSection>> sections = DecodeSections(header, kKinds);
  for (const absl::Status& status : {segment.status(), n_list.status(), sections.status()}) {
    if (!status.ok()) return status;
  }
  absl::StatusOr<std::vector<std::vector<int>>> n_probe = DecodeProbes(header, static_cast<int>(*n_list));
  if (!n_probe.ok()) return n_probe.status();
  const auto recall = header.find("recall");
  if (recall == header.end() || !recall->is_number() || !(recall->get<double>() >= 0) ||
      !(recall->get<double>() <= 1)) {
    return absl::DataLossError("field 'recall' is not a number from 0 to 1");
  }
  const auto seed = header.find("seed");
  if (seed == header.end() || !seed->is_number_unsigned()) {
    return absl::DataLossError("field 'seed' is not an integer from 0 on");
  }
  SegmentIndexHead head{.segment = *std::move(segment),
                        .n_list = static_cast<int>(*n_list),
                        .n_probe = *std::move(n_probe),
                        .recall = recall->get<double>(),
                        .seed = seed->get<uint64_t>(),
                        .sections = *std::move(sections),
                        .data_size = decoded->data_size};
  if (absl::Status status = CheckPlacement(head.sections, bytes.size(), head.data_size); !status.ok())
    return status;
  return head;
}

absl::Status CheckIndexHead(const SegmentIndexHead& head, std::string_view segment, const MemorySpec& spec,
                            int64_t n_tokens) {
  if (head.segment != segment) {
    return absl::DataLossError(
        absl::StrCat("it is the index of another segment, ", ShownField(head.segment)));
  }
  if (head.n_list < 1 || head.n_list > n_tokens) {
    return absl::DataLossError(absl::StrCat("it has ", head.n_list, " lists of ", n_tokens, " rows"));
  }
  const auto n_head = static_cast<size_t>(spec.n_head);
  if (head.n_probe.size() != spec.layers.size() ||
      std::any_of(head.n_probe.begin(), head.n_probe.end(),
                  [n_head](const std::vector<int>& heads) { return heads.size() != n_head; })) {
    return absl::DataLossError("field 'n_probe' has other layers or heads than the segment");
  }
  for (const int layer : spec.layers) {
    for (const std::string_view kind : kKinds) {
      const auto is_it = [&](const FileSection& s) { return s.kind == kind && s.layer == layer; };
      const auto n = std::count_if(head.sections.begin(), head.sections.end(), is_it);
      const uint64_t size = SizeOf(kind, spec, head.n_list, n_tokens);
      if (n != 1 || head.Find(kind, layer).size != size) {
        return absl::DataLossError(absl::StrCat("section ", AbslView(kind), " of layer ", layer, " is there ",
                                                n, " times, instead of once with ", size, " bytes"));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace mtm
