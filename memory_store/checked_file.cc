// SPDX-License-Identifier: Apache-2.0
#include "memory_store/checked_file.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "memory_store/digest.h"
#include "memory_store/json_fields.h"

namespace mtm {
namespace {

static_assert(std::endian::native == std::endian::little, "files are mapped, and little-endian");

using Json = nlohmann::json;

struct Preamble {
  uint32_t version = 0;
  uint32_t header_size = 0;
  uint64_t data_size = 0;
  uint64_t checksum = 0;
};

absl::StatusOr<Preamble> DecodePreamble(std::string_view magic, std::span<const std::byte> bytes) {
  if (bytes.size() < kPreambleSize) return absl::DataLossError("it is too short to have a preamble");
  if (std::memcmp(bytes.data(), magic.data(), magic.size()) != 0) {
    return absl::DataLossError(absl::StrCat("it does not begin with ", absl::CHexEscape(std::string(magic))));
  }
  Preamble preamble;
  std::memcpy(&preamble.version, &bytes[8], sizeof(preamble.version));
  std::memcpy(&preamble.header_size, &bytes[12], sizeof(preamble.header_size));
  std::memcpy(&preamble.data_size, &bytes[16], sizeof(preamble.data_size));
  std::memcpy(&preamble.checksum, &bytes[24], sizeof(preamble.checksum));
  if (preamble.header_size > kMaxHeaderSize || preamble.data_size > kMaxDataSize ||
      preamble.data_size % kSectionAlignment != 0 ||
      preamble.data_size < kPreambleSize + preamble.header_size) {
    return absl::DataLossError("its preamble has impossible sizes");
  }
  return preamble;
}

uint64_t AlignUp(uint64_t offset) {
  return (offset + kSectionAlignment - 1) / kSectionAlignment * kSectionAlignment;
}

// A value of two bytes takes a hundred in memory: more than any header of ours has for its size is not
// parsed.
bool HasTooManyValues(std::string_view json) {
  constexpr size_t kAllowed = 200'000;
  constexpr size_t kBytesPerValue = 16;
  size_t n = 0;
  bool quoted = false;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (quoted && c == '\\') {
      ++i;
    } else if (c == '"') {
      quoted = !quoted;
    } else if (!quoted && (c == ',' || c == '[' || c == '{')) {
      ++n;
    }
  }
  return n > kAllowed + json.size() / kBytesPerValue;
}

absl::StatusOr<FileSection> DecodeSection(const Json& entry, std::span<const std::string_view> known) {
  if (!entry.is_object()) return absl::DataLossError("a section is not an object");
  const absl::StatusOr<std::string> kind = StringField(entry, "kind");
  const absl::StatusOr<int64_t> offset = IntField(entry, "offset");
  const absl::StatusOr<int64_t> size = IntField(entry, "size");
  absl::StatusOr<int64_t> layer = 0;
  if (entry.contains("layer")) layer = IntField(entry, "layer", std::numeric_limits<int>::max());
  for (const absl::Status& status : {kind.status(), offset.status(), size.status(), layer.status()}) {
    if (!status.ok()) return status;
  }
  const auto optional = entry.find("optional");
  if (std::find(known.begin(), known.end(), *kind) == known.end() &&
      (optional == entry.end() || *optional != Json(true))) {
    return absl::FailedPreconditionError(
        absl::StrCat("this reader does not know its section ", ShownField(*kind)));
  }
  return FileSection{.kind = *kind,
                     .layer = static_cast<int>(*layer),
                     .offset = static_cast<uint64_t>(*offset),
                     .size = static_cast<uint64_t>(*size)};
}

// Reads bytes 0..data_size-1 in blocks, in order, and stops at the first error.
absl::Status ForEachBlock(
    const File& file, uint64_t data_size,
    const std::function<absl::Status(uint64_t block, std::span<const std::byte>)>& visit) {
  std::vector<std::byte> buffer(std::min(kBlockSize, data_size));
  for (uint64_t block = 0; block < BlockCount(data_size); ++block) {
    const uint64_t begin = block * kBlockSize;
    const std::span<std::byte> data = std::span(buffer).first(std::min(kBlockSize, data_size - begin));
    if (absl::Status status = file.ReadAt(begin, data); !status.ok()) return status;
    if (absl::Status status = visit(block, data); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

std::string FileSection::Describe() const {
  return layer == 0 ? kind : absl::StrCat(kind, " of layer ", layer);
}

std::string EncodeHead(std::string_view magic, std::string_view header, uint64_t data_size) {
  const auto header_size = static_cast<uint32_t>(header.size());
  std::string head(kPreambleSize, '\0');
  std::memcpy(&head[0], magic.data(), magic.size());
  std::memcpy(&head[8], &kFormatVersion, sizeof(kFormatVersion));
  std::memcpy(&head[12], &header_size, sizeof(header_size));
  std::memcpy(&head[16], &data_size, sizeof(data_size));
  const uint64_t checksum = BlockChecksum(head.substr(0, 24).append(header));
  std::memcpy(&head[24], &checksum, sizeof(checksum));
  return head.append(header);
}

absl::StatusOr<FileHead> DecodeHead(std::string_view magic, std::span<const std::byte> head) {
  const absl::StatusOr<Preamble> preamble = DecodePreamble(magic, head);
  if (!preamble.ok()) return preamble.status();
  const std::string_view text(reinterpret_cast<const char*>(head.data()), head.size());
  if (text.size() != kPreambleSize + preamble->header_size ||
      BlockChecksum(std::string(text.substr(0, 24)).append(text.substr(kPreambleSize))) !=
          preamble->checksum) {
    return absl::DataLossError("its header does not match its checksum");
  }
  // Judged now that the checksum has shown it to be what was written.
  if (preamble->version != kFormatVersion) {
    return absl::FailedPreconditionError(absl::StrCat("it has format version ", preamble->version,
                                                      "; this reader reads version ", kFormatVersion));
  }
  if (HasTooManyValues(text.substr(kPreambleSize))) {
    return absl::DataLossError("its header has more values than its size allows");
  }
  FileHead decoded{.header = Json::parse(text.substr(kPreambleSize), nullptr, /*allow_exceptions=*/false),
                   .data_size = preamble->data_size};
  if (!decoded.header.is_object()) return absl::DataLossError("its header is not a JSON object");
  return decoded;
}

absl::StatusOr<std::unique_ptr<File>> OpenChecked(FileSystem& file_system,
                                                  const std::filesystem::path& path) {
  absl::StatusOr<std::unique_ptr<File>> file = file_system.OpenFile(path);
  if (absl::IsNotFound(file.status())) return absl::DataLossError("the file is missing");
  return file;
}

absl::Status CheckFileSize(const File& file, uint64_t expected) {
  const absl::StatusOr<uint64_t> size = file.Size();
  if (!size.ok()) return size.status();
  if (*size == expected) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("it has ", *size, " bytes instead of ", expected));
}

absl::StatusOr<std::vector<std::byte>> ReadHead(const File& file, std::string_view magic) {
  const absl::StatusOr<uint64_t> file_size = file.Size();
  if (!file_size.ok()) return file_size.status();
  std::vector<std::byte> head(std::min(kPreambleSize, *file_size));
  if (absl::Status status = file.ReadAt(0, head); !status.ok()) return status;
  const absl::StatusOr<Preamble> preamble = DecodePreamble(magic, head);
  if (!preamble.ok()) return preamble.status();
  if (kPreambleSize + preamble->header_size > *file_size) {
    return absl::DataLossError(absl::StrCat("it has ", *file_size, " bytes and ends within its header"));
  }
  head.resize(kPreambleSize + preamble->header_size);
  if (absl::Status status = file.ReadAt(0, head); !status.ok()) return status;
  return head;
}

uint64_t PlaceAfterHead(std::vector<FileSection>& sections,
                        const std::function<uint64_t(uint64_t data_size)>& head_size) {
  uint64_t begin = kSectionAlignment;
  for (;;) {
    uint64_t end = begin;
    for (FileSection& section : sections) {
      section.offset = end;
      end = AlignUp(section.offset + section.size);
    }
    // Later offsets may have more digits, and lengthen the head.
    const uint64_t needed = AlignUp(head_size(end));
    if (needed <= begin) return end;
    begin = needed;
  }
}

Json EncodeSections(const std::vector<FileSection>& sections) {
  Json encoded = Json::array();
  for (const FileSection& section : sections) {
    Json entry = {{"kind", section.kind}, {"offset", section.offset}, {"size", section.size}};
    if (section.layer != 0) entry["layer"] = section.layer;
    encoded.push_back(std::move(entry));
  }
  return encoded;
}

absl::StatusOr<std::vector<FileSection>> DecodeSections(const Json& header,
                                                        std::span<const std::string_view> known) {
  const auto entries = header.find("sections");
  if (entries == header.end() || !entries->is_array()) {
    return absl::DataLossError("field 'sections' is not a list");
  }
  std::vector<FileSection> sections;
  for (const Json& entry : *entries) {
    absl::StatusOr<FileSection> section = DecodeSection(entry, known);
    if (!section.ok()) return section.status();
    sections.push_back(*std::move(section));
  }
  return sections;
}

absl::Status CheckPlacement(const std::vector<FileSection>& sections, uint64_t head_size,
                            uint64_t data_size) {
  uint64_t end = head_size;
  for (const FileSection& section : sections) {
    if (section.offset % kSectionAlignment != 0 || section.offset < end || section.offset > data_size ||
        section.size > data_size - section.offset) {
      return absl::DataLossError(absl::StrCat("section ", section.Describe(), " lies where it cannot"));
    }
    end = section.offset + section.size;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<uint64_t>> ReadTable(const File& file, uint64_t data_size) {
  std::vector<uint64_t> table(BlockCount(data_size) + 1);
  if (absl::Status status = file.ReadAt(data_size, std::as_writable_bytes(std::span(table))); !status.ok()) {
    return status;
  }
  const uint64_t checksum = table.back();
  table.pop_back();
  if (BlockChecksum(std::as_bytes(std::span(table))) != checksum) {
    return absl::DataLossError("its table of checksums does not match its own checksum");
  }
  return table;
}

absl::Status BadBlock(uint64_t block, uint64_t data_size, const std::vector<FileSection>& sections) {
  const uint64_t begin = block * kBlockSize;
  const uint64_t end = std::min(begin + kBlockSize, data_size);
  std::vector<std::string> names;
  if (begin == 0) names.push_back("header");
  for (const FileSection& section : sections) {
    if (section.offset < end && section.offset + section.size > begin) names.push_back(section.Describe());
  }
  return absl::DataLossError(absl::StrCat("block ", block, " (bytes ", begin, " to ", end - 1, ": ",
                                          absl::StrJoin(names, ", "), ") does not match its checksum"));
}

absl::Status CheckBlocks(const File& file, uint64_t data_size, const std::vector<FileSection>& sections,
                         const ByteProgress& progress) {
  const absl::StatusOr<std::vector<uint64_t>> table = ReadTable(file, data_size);
  if (!table.ok()) return table.status();
  return ForEachBlock(file, data_size, [&](uint64_t block, std::span<const std::byte> data) {
    if (BlockChecksum(data) != (*table)[block]) return BadBlock(block, data_size, sections);
    return progress ? progress(static_cast<int64_t>(block * kBlockSize + data.size())) : absl::OkStatus();
  });
}

absl::Status SealFile(File& file, uint64_t data_size) {
  // The end first: the zeros before it are then part of the file, and are read.
  std::vector<uint64_t> table(BlockCount(data_size) + 1);
  const std::span<const std::byte> bytes = std::as_bytes(std::span(table));
  if (absl::Status status = file.WriteAt(data_size, bytes); !status.ok()) return status;
  absl::Status status = ForEachBlock(file, data_size, [&](uint64_t block, std::span<const std::byte> data) {
    table[block] = BlockChecksum(data);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  table.back() = BlockChecksum(bytes.first(bytes.size() - sizeof(uint64_t)));
  if (status = file.WriteAt(data_size, bytes); !status.ok()) return status;
  return file.Sync();
}

}  // namespace mtm
