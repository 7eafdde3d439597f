// SPDX-License-Identifier: Apache-2.0
#include "memory_store/memory_file.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "memory_store/digest.h"
#include "memory_store/memory_header.h"

namespace mtm {
namespace {

absl::StatusOr<MemoryLayout> ReadHead(const File& file) {
  std::vector<std::byte> head(kPreambleSize);
  if (absl::Status status = file.ReadAt(0, head); !status.ok()) return status;
  const absl::StatusOr<Preamble> preamble = DecodePreamble(head);
  if (!preamble.ok()) return preamble.status();
  head.resize(kPreambleSize + preamble->header_size);
  if (absl::Status status = file.ReadAt(0, head); !status.ok()) return status;
  return DecodeHead(head);
}

// The checksums of the blocks, once they and the digest are what was written under `digest`.
absl::StatusOr<std::vector<uint64_t>> ReadTable(const File& file, const MemoryLayout& layout,
                                                std::string_view digest) {
  std::vector<std::byte> bytes(layout.TableSize());
  if (absl::Status status = file.ReadAt(layout.data_size, bytes); !status.ok()) return status;
  uint64_t checksum;
  const std::span<const std::byte> covered = std::span(bytes).first(bytes.size() - sizeof(checksum));
  std::memcpy(&checksum, bytes.data() + covered.size(), sizeof(checksum));
  if (BlockChecksum(covered) != checksum) {
    return absl::DataLossError("its table of checksums does not match its own checksum");
  }
  const std::string stored = ToHex(covered.last(sizeof(Sha256Digest)));
  if (stored != digest) {
    return absl::DataLossError(absl::StrCat("it holds another memory, of digest ", stored));
  }
  std::vector<uint64_t> table(layout.n_blocks());
  std::memcpy(table.data(), bytes.data(), table.size() * sizeof(uint64_t));
  return table;
}

absl::Status BadBlock(const MemoryLayout& layout, uint64_t block) {
  const uint64_t begin = block * kBlockSize;
  const uint64_t end = std::min(begin + kBlockSize, layout.data_size);
  std::vector<std::string> sections;
  if (begin == 0) sections.push_back("header");
  for (const MemorySection& section : layout.sections) {
    if (section.offset < end && section.offset + section.size > begin) sections.push_back(section.Describe());
  }
  return absl::DataLossError(absl::StrCat("block ", block, " (bytes ", begin, " to ", end - 1, ": ",
                                          absl::StrJoin(sections, ", "), ") does not match its checksum"));
}

absl::Status VerifyBlocks(const File& file, const MemoryLayout& layout, const std::vector<uint64_t>& table) {
  return ForEachBlock(file, layout.data_size, [&](uint64_t block, std::span<const std::byte> data) {
    return BlockChecksum(data) == table[block] ? absl::OkStatus() : BadBlock(layout, block);
  });
}

void PointInto(Memory::File& opened) {
  const std::byte* const base = opened.mapping->bytes().data();
  const MemoryLayout& layout = opened.layout;
  opened.tokens = reinterpret_cast<const int32_t*>(base + layout.Find("tokens", 0).offset);
  const auto n_slots = static_cast<size_t>(layout.spec.layers.back()) + 1;
  opened.keys.resize(n_slots);
  opened.values.resize(n_slots);
  for (const int layer : layout.spec.layers) {
    const auto slot = static_cast<size_t>(layer);
    opened.keys[slot] = reinterpret_cast<const float*>(base + layout.Find("keys", layer).offset);
    opened.values[slot] = reinterpret_cast<const float*>(base + layout.Find("values", layer).offset);
  }
}

absl::StatusOr<std::shared_ptr<const Memory::File>> Open(FileSystem& file_system,
                                                         const std::filesystem::path& path,
                                                         std::string_view digest, Verify verify) {
  absl::StatusOr<std::unique_ptr<File>> file = file_system.OpenFile(path);
  if (absl::IsNotFound(file.status())) return absl::DataLossError("the file is missing");
  if (!file.ok()) return file.status();
  absl::StatusOr<MemoryLayout> layout = ReadHead(**file);
  if (!layout.ok()) return layout.status();
  const absl::StatusOr<uint64_t> size = (*file)->Size();
  if (!size.ok()) return size.status();
  if (*size != layout->file_size()) {
    return absl::DataLossError(absl::StrCat("it has ", *size, " bytes instead of ", layout->file_size()));
  }
  const absl::StatusOr<std::vector<uint64_t>> table = ReadTable(**file, *layout, digest);
  if (!table.ok()) return table.status();
  // Through reads rather than the mapping: a disk error is then an error and not a signal.
  if (verify == Verify::kBlocks) {
    if (absl::Status status = VerifyBlocks(**file, *layout, *table); !status.ok()) return status;
  }
  absl::StatusOr<std::unique_ptr<FileMapping>> mapping = (*file)->Map();
  if (!mapping.ok()) return mapping.status();

  auto opened = std::make_shared<Memory::File>();
  opened->layout = *std::move(layout);
  opened->digest = digest;
  opened->mapping = *std::move(mapping);
  PointInto(*opened);
  return opened;
}

}  // namespace

absl::Status ForEachBlock(
    const File& file, uint64_t data_size,
    const std::function<absl::Status(uint64_t block, std::span<const std::byte>)>& visit) {
  std::vector<std::byte> buffer(std::min(kBlockSize, data_size));
  for (uint64_t block = 0; block * kBlockSize < data_size; ++block) {
    const uint64_t begin = block * kBlockSize;
    const std::span<std::byte> data = std::span(buffer).first(std::min(kBlockSize, data_size - begin));
    if (absl::Status status = file.ReadAt(begin, data); !status.ok()) return status;
    if (absl::Status status = visit(block, data); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const Memory::File>> OpenMemoryFile(FileSystem& file_system,
                                                                   const std::filesystem::path& path,
                                                                   std::string_view digest, Verify verify) {
  absl::StatusOr<std::shared_ptr<const Memory::File>> opened = Open(file_system, path, digest, verify);
  if (!opened.ok()) return WithPath(opened.status(), path);
  return opened;
}

}  // namespace mtm
