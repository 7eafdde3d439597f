// SPDX-License-Identifier: Apache-2.0
#include "memory_store/memory_layout.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "memory_store/absl_view.h"
#include "memory_store/json_fields.h"
#include "nlohmann/json.hpp"

namespace mtm {
namespace {

static_assert(std::endian::native == std::endian::little, "memory files are mapped, and little-endian");

using Json = nlohmann::json;

// Far above any GPT-2, and low enough for every product of sizes to fit 63 bits.
constexpr int64_t kMaxLayer = 1000;
constexpr int64_t kMaxHeads = 1000;
constexpr int64_t kMaxHeadDim = 10'000;
constexpr int64_t kMaxTokens = 100'000'000;

constexpr char kDtype[] = "F32";

uint64_t AlignUp(uint64_t offset) {
  return (offset + kSectionAlignment - 1) / kSectionAlignment * kSectionAlignment;
}

uint64_t TensorSize(const MemorySpec& spec) {
  return sizeof(float) * static_cast<uint64_t>(spec.n_head) * static_cast<uint64_t>(spec.n_tokens) *
         static_cast<uint64_t>(spec.head_dim);
}

uint64_t SizeOf(const MemorySpec& spec, std::string_view kind) {
  return kind == "tokens" ? sizeof(int32_t) * static_cast<uint64_t>(spec.n_tokens) : TensorSize(spec);
}

void PlaceSections(MemoryLayout& layout, uint64_t begin) {
  uint64_t end = begin;
  for (MemorySection& section : layout.sections) {
    section.offset = AlignUp(end);
    end = section.offset + section.size;
  }
  layout.data_size = AlignUp(end);
}

std::string EncodeHeader(const MemoryLayout& layout) {
  Json sections = Json::array();
  for (const MemorySection& section : layout.sections) {
    Json entry = {{"kind", section.kind}, {"offset", section.offset}, {"size", section.size}};
    if (section.layer != 0) entry["layer"] = section.layer;
    sections.push_back(std::move(entry));
  }
  const Json header = {{"dtype", kDtype},
                       {"head_dim", layout.spec.head_dim},
                       {"layers", layout.spec.layers},
                       {"model_fingerprint", layout.spec.model_fingerprint},
                       {"n_dropped", layout.spec.n_dropped},
                       {"n_head", layout.spec.n_head},
                       {"n_tokens", layout.spec.n_tokens},
                       {"sections", std::move(sections)}};
  return header.dump();
}

absl::StatusOr<MemorySpec> DecodeSpec(const Json& header) {
  MemorySpec spec;
  const absl::StatusOr<std::string> fingerprint = StringField(header, "model_fingerprint");
  const absl::StatusOr<std::string> dtype = StringField(header, "dtype");
  const absl::StatusOr<int64_t> n_head = IntField(header, "n_head", kMaxHeads);
  const absl::StatusOr<int64_t> head_dim = IntField(header, "head_dim", kMaxHeadDim);
  const absl::StatusOr<int64_t> n_dropped = IntField(header, "n_dropped", kMaxTokens);
  const absl::StatusOr<int64_t> n_tokens = IntField(header, "n_tokens", kMaxTokens);
  for (const absl::Status& status : {fingerprint.status(), dtype.status(), n_head.status(), head_dim.status(),
                                     n_dropped.status(), n_tokens.status()}) {
    if (!status.ok()) return status;
  }
  if (*dtype != kDtype) {
    return absl::FailedPreconditionError(
        absl::StrCat("its numbers are stored as '", *dtype, "'; this reader reads ", kDtype));
  }
  const auto layers = header.find("layers");
  if (layers == header.end() || !layers->is_array()) {
    return absl::DataLossError("field 'layers' is not a list");
  }
  for (const Json& layer : *layers) {
    if (!layer.is_number_unsigned() || layer.get<uint64_t>() > kMaxLayer) {
      return absl::DataLossError("field 'layers' has something that is no layer");
    }
    spec.layers.push_back(layer.get<int>());
  }
  spec.model_fingerprint = *fingerprint;
  spec.n_head = static_cast<int>(*n_head);
  spec.head_dim = static_cast<int>(*head_dim);
  spec.n_dropped = static_cast<int>(*n_dropped);
  spec.n_tokens = *n_tokens;
  if (absl::Status status = CheckSpec(spec); !status.ok()) return absl::DataLossError(status.message());
  return spec;
}

absl::StatusOr<MemorySection> DecodeSection(const Json& entry, const MemorySpec& spec) {
  if (!entry.is_object()) return absl::DataLossError("a section is not an object");
  const absl::StatusOr<std::string> kind = StringField(entry, "kind");
  const absl::StatusOr<int64_t> offset = IntField(entry, "offset");
  const absl::StatusOr<int64_t> size = IntField(entry, "size");
  absl::StatusOr<int64_t> layer = 0;
  if (entry.contains("layer")) layer = IntField(entry, "layer", kMaxLayer);
  for (const absl::Status& status : {kind.status(), offset.status(), size.status(), layer.status()}) {
    if (!status.ok()) return status;
  }
  MemorySection section{.kind = *kind,
                        .layer = static_cast<int>(*layer),
                        .offset = static_cast<uint64_t>(*offset),
                        .size = static_cast<uint64_t>(*size)};
  const bool known = section.kind == "tokens" || section.kind == "keys" || section.kind == "values";
  if (!known && entry.value("optional", Json()) != Json(true)) {
    return absl::FailedPreconditionError(
        absl::StrCat("this reader does not know its section '", section.kind, "'"));
  }
  if (known && section.size != SizeOf(spec, section.kind)) {
    return absl::DataLossError(absl::StrCat("section ", section.Describe(), " has ", section.size,
                                            " bytes instead of ", SizeOf(spec, section.kind)));
  }
  return section;
}

absl::Status CheckPlacement(const MemoryLayout& layout, uint64_t head_size) {
  uint64_t end = head_size;
  for (const MemorySection& section : layout.sections) {
    if (section.offset % kSectionAlignment != 0 || section.offset < end ||
        section.offset > layout.data_size || section.size > layout.data_size - section.offset) {
      return absl::DataLossError(absl::StrCat("section ", section.Describe(), " lies where it cannot"));
    }
    end = section.offset + section.size;
  }
  return absl::OkStatus();
}

absl::Status CheckComplete(const MemoryLayout& layout) {
  const auto check = [&](std::string_view kind, int layer) -> absl::Status {
    const auto n = std::count_if(layout.sections.begin(), layout.sections.end(),
                                 [&](const MemorySection& s) { return s.kind == kind && s.layer == layer; });
    if (n == 1) return absl::OkStatus();
    return absl::DataLossError(
        absl::StrCat("section ", MemorySection{.kind = std::string(kind), .layer = layer}.Describe(),
                     " is there ", n, " times instead of once"));
  };
  if (absl::Status status = check("tokens", 0); !status.ok()) return status;
  for (const int layer : layout.spec.layers) {
    for (const std::string_view kind : {"keys", "values"}) {
      if (absl::Status status = check(kind, layer); !status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::string MemorySection::Describe() const {
  return layer == 0 ? kind : absl::StrCat(kind, " of layer ", layer);
}

const MemorySection& MemoryLayout::Find(std::string_view kind, int layer) const {
  return *std::find_if(sections.begin(), sections.end(),
                       [&](const MemorySection& s) { return s.kind == kind && s.layer == layer; });
}

absl::Status CheckSpec(const MemorySpec& spec) {
  const auto out_of_range = [](std::string_view field, int64_t value, int64_t min, int64_t max) {
    return absl::InvalidArgumentError(
        absl::StrCat("memory spec: ", AbslView(field), " is ", value, "; it is from ", min, " to ", max));
  };
  if (!IsHex(spec.model_fingerprint, 64)) {
    return absl::InvalidArgumentError("memory spec: model_fingerprint is not 64 digits of 0-9, a-f");
  }
  if (spec.layers.empty()) return absl::InvalidArgumentError("memory spec: layers is empty");
  int previous = 0;
  for (const int layer : spec.layers) {
    if (layer < 1 || layer > kMaxLayer) return out_of_range("a layer", layer, 1, kMaxLayer);
    if (layer <= previous) return absl::InvalidArgumentError("memory spec: layers do not ascend");
    previous = layer;
  }
  if (spec.n_head < 1 || spec.n_head > kMaxHeads) return out_of_range("n_head", spec.n_head, 1, kMaxHeads);
  if (spec.head_dim < 1 || spec.head_dim > kMaxHeadDim) {
    return out_of_range("head_dim", spec.head_dim, 1, kMaxHeadDim);
  }
  if (spec.n_dropped < 0 || spec.n_dropped > kMaxTokens) {
    return out_of_range("n_dropped", spec.n_dropped, 0, kMaxTokens);
  }
  if (spec.n_tokens < 1 || spec.n_tokens > kMaxTokens) {
    return out_of_range("n_tokens", spec.n_tokens, 1, kMaxTokens);
  }
  // 4 bytes, keys and values: below 2^62 together, so no offset overflows.
  const double bytes = 8.0 * static_cast<double>(spec.layers.size()) * spec.n_head * spec.head_dim *
                       static_cast<double>(spec.n_tokens);
  if (bytes > 4e18) return absl::InvalidArgumentError("memory spec: it has more bytes than a file can hold");
  return absl::OkStatus();
}

MemoryLayout LayOut(MemorySpec spec) {
  MemoryLayout layout;
  layout.sections.push_back({.kind = "tokens", .layer = 0, .size = SizeOf(spec, "tokens")});
  for (const int layer : spec.layers) {
    for (const char* kind : {"keys", "values"}) {
      layout.sections.push_back({.kind = kind, .layer = layer, .size = SizeOf(spec, kind)});
    }
  }
  layout.spec = std::move(spec);
  // The header holds the offsets, whose digits may lengthen it: place again until it fits before the first
  // one.
  for (uint64_t begin = kSectionAlignment, previous = 0; begin != previous;) {
    PlaceSections(layout, begin);
    previous = begin;
    begin = std::max(begin, AlignUp(kPreambleSize + EncodeHeader(layout).size()));
  }
  return layout;
}

std::string EncodeHead(const MemoryLayout& layout) {
  const std::string header = EncodeHeader(layout);
  const auto header_size = static_cast<uint32_t>(header.size());
  std::string head(kPreambleSize, '\0');
  std::memcpy(&head[0], kMemoryFileMagic.data(), kMemoryFileMagic.size());
  std::memcpy(&head[8], &kMemoryFileVersion, sizeof(kMemoryFileVersion));
  std::memcpy(&head[12], &header_size, sizeof(header_size));
  std::memcpy(&head[16], &layout.data_size, sizeof(layout.data_size));
  const uint64_t checksum = BlockChecksum(absl::StrCat(head.substr(0, 24), header));
  std::memcpy(&head[24], &checksum, sizeof(checksum));
  return head + header;
}

absl::StatusOr<Preamble> DecodePreamble(std::span<const std::byte> bytes) {
  if (bytes.size() < kPreambleSize) return absl::DataLossError("it is too short for a memory file");
  if (std::memcmp(bytes.data(), kMemoryFileMagic.data(), kMemoryFileMagic.size()) != 0) {
    return absl::DataLossError("it does not begin as a memory file");
  }
  Preamble preamble;
  std::memcpy(&preamble.header_size, &bytes[12], sizeof(preamble.header_size));
  std::memcpy(&preamble.data_size, &bytes[16], sizeof(preamble.data_size));
  std::memcpy(&preamble.checksum, &bytes[24], sizeof(preamble.checksum));
  constexpr uint64_t kMaxDataSize = uint64_t{1} << 62;
  if (preamble.header_size > kMaxHeaderSize || preamble.data_size > kMaxDataSize ||
      preamble.data_size % kSectionAlignment != 0 ||
      preamble.data_size < kPreambleSize + preamble.header_size) {
    return absl::DataLossError("its preamble has impossible sizes");
  }
  return preamble;
}

absl::StatusOr<MemoryLayout> DecodeHead(std::span<const std::byte> head) {
  absl::StatusOr<Preamble> preamble = DecodePreamble(head);
  if (!preamble.ok()) return preamble.status();
  const std::string text(reinterpret_cast<const char*>(head.data()), head.size());
  if (text.size() != kPreambleSize + preamble->header_size ||
      BlockChecksum(absl::StrCat(text.substr(0, 24), text.substr(kPreambleSize))) != preamble->checksum) {
    return absl::DataLossError("its header does not match its checksum");
  }
  uint32_t version;
  std::memcpy(&version, &head[8], sizeof(version));
  if (version != kMemoryFileVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("it has format version ", version, "; this reader reads version ", kMemoryFileVersion));
  }
  const Json header = Json::parse(text.substr(kPreambleSize), nullptr, /*allow_exceptions=*/false);
  if (!header.is_object()) return absl::DataLossError("its header is not a JSON object");
  absl::StatusOr<MemorySpec> spec = DecodeSpec(header);
  if (!spec.ok()) return spec.status();

  MemoryLayout layout{.spec = *std::move(spec), .sections = {}, .data_size = preamble->data_size};
  const auto sections = header.find("sections");
  if (sections == header.end() || !sections->is_array()) {
    return absl::DataLossError("field 'sections' is not a list");
  }
  for (const Json& entry : *sections) {
    absl::StatusOr<MemorySection> section = DecodeSection(entry, layout.spec);
    if (!section.ok()) return section.status();
    layout.sections.push_back(*std::move(section));
  }
  if (absl::Status status = CheckPlacement(layout, text.size()); !status.ok()) return status;
  if (absl::Status status = CheckComplete(layout); !status.ok()) return status;
  return layout;
}

}  // namespace mtm
