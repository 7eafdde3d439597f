// SPDX-License-Identifier: Apache-2.0
#include "memory_store/memory_header.h"

#include <bit>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "memory_store/digest.h"
#include "memory_store/json_fields.h"
#include "nlohmann/json.hpp"

namespace mtm {
namespace {

static_assert(std::endian::native == std::endian::little, "memory files are mapped, and little-endian");

using Json = nlohmann::json;

constexpr char kDtype[] = "F32";
constexpr uint64_t kMaxHeaderSize = 1 << 20;
constexpr int64_t kMaxInt = std::numeric_limits<int>::max();

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

// For messages: what a stranger wrote, without control characters and of bounded length.
std::string Shown(const std::string& text) {
  return absl::StrCat("'", absl::CHexEscape(text.substr(0, 40)), "'");
}

absl::StatusOr<MemorySpec> DecodeSpec(const Json& header) {
  MemorySpec spec;
  const absl::StatusOr<std::string> fingerprint = StringField(header, "model_fingerprint");
  const absl::StatusOr<std::string> dtype = StringField(header, "dtype");
  const absl::StatusOr<int64_t> n_head = IntField(header, "n_head", kMaxInt);
  const absl::StatusOr<int64_t> head_dim = IntField(header, "head_dim", kMaxInt);
  const absl::StatusOr<int64_t> n_dropped = IntField(header, "n_dropped", kMaxInt);
  const absl::StatusOr<int64_t> n_tokens = IntField(header, "n_tokens");
  for (const absl::Status& status : {fingerprint.status(), dtype.status(), n_head.status(), head_dim.status(),
                                     n_dropped.status(), n_tokens.status()}) {
    if (!status.ok()) return status;
  }
  if (*dtype != kDtype) {
    return absl::FailedPreconditionError(
        absl::StrCat("its numbers are stored as ", Shown(*dtype), "; this reader reads ", kDtype));
  }
  const auto layers = header.find("layers");
  if (layers == header.end() || !layers->is_array()) {
    return absl::DataLossError("field 'layers' is not a list");
  }
  for (const Json& layer : *layers) {
    if (!layer.is_number_unsigned() || layer.get<uint64_t>() > kMaxInt) {
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
  if (entry.contains("layer")) layer = IntField(entry, "layer", kMaxInt);
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
        absl::StrCat("this reader does not know its section ", Shown(section.kind)));
  }
  if (known && section.size != SectionSize(spec, section.kind)) {
    return absl::DataLossError(absl::StrCat("section ", section.Describe(), " has ", section.size,
                                            " bytes instead of ", SectionSize(spec, section.kind)));
  }
  return section;
}

}  // namespace

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
  if (absl::Status status = CheckLayout(layout, text.size()); !status.ok()) return status;
  return layout;
}

}  // namespace mtm
