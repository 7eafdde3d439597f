// SPDX-License-Identifier: Apache-2.0
// What segments and their indexes have in common (FORMAT.md): a preamble, a header of JSON, sections, and a
// table of checksums of all that.
#ifndef MTM_MEMORY_STORE_CHECKED_FILE_H_
#define MTM_MEMORY_STORE_CHECKED_FILE_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "memory_store/file_system.h"
#include "nlohmann/json.hpp"

namespace mtm {

inline constexpr uint32_t kFormatVersion = 2;
inline constexpr uint64_t kPreambleSize = 32;
inline constexpr uint64_t kMaxHeaderSize = 256 << 20;
inline constexpr uint64_t kMaxDataSize = uint64_t{1} << 46;  // whose table is half a GiB
inline constexpr uint64_t kSectionAlignment = 4096;
inline constexpr uint64_t kBlockSize = 1 << 20;

inline constexpr std::string_view kSegmentMagic = "MTMMEM\r\n";
inline constexpr std::string_view kIndexMagic = "MTMIDX\r\n";

struct FileSection {
  std::string kind;  // "tokens", "keys", "values" or one that this version does not know
  int layer = 0;     // 0: of no layer
  uint64_t offset = 0;
  uint64_t size = 0;

  std::string Describe() const;  // "keys of layer 7"
};

// Bytes read so far; an error ends the work and is its result.
using ByteProgress = std::function<absl::Status(int64_t bytes_done)>;

// ---- Preamble and header.

std::string EncodeHead(std::string_view magic, std::string_view header, uint64_t data_size);

struct FileHead {
  nlohmann::json header;  // an object
  uint64_t data_size = 0;
};

// `head` is preamble and header. DATA_LOSS: damaged; FAILED_PRECONDITION: of another version.
absl::StatusOr<FileHead> DecodeHead(std::string_view magic, std::span<const std::byte> head);

// DATA_LOSS: missing. Others as the file system's.
absl::StatusOr<std::unique_ptr<File>> OpenChecked(FileSystem& file_system, const std::filesystem::path& path);

// DATA_LOSS: the file has not as many bytes as its head says.
absl::Status CheckFileSize(const File& file, uint64_t expected);

// The bytes for DecodeHead. DATA_LOSS where they are none; others as the file's.
absl::StatusOr<std::vector<std::byte>> ReadHead(const File& file, std::string_view magic);

// ---- Sections.

// Places them one after the other, aligned, behind a head that holds their offsets; returns the data's size.
// `head_size` is called until it stays the same, with the sections placed and the data's size.
uint64_t PlaceAfterHead(std::vector<FileSection>& sections,
                        const std::function<uint64_t(uint64_t data_size)>& head_size);

nlohmann::json EncodeSections(const std::vector<FileSection>& sections);

// DATA_LOSS: not a list of sections; FAILED_PRECONDITION: one that must not be skipped, of a kind that is not
// in `known`.
absl::StatusOr<std::vector<FileSection>> DecodeSections(const nlohmann::json& header,
                                                        std::span<const std::string_view> known);

// DATA_LOSS: a section lies outside the data, over the head or another one, or not aligned.
absl::Status CheckPlacement(const std::vector<FileSection>& sections, uint64_t head_size, uint64_t data_size);

// ---- Blocks and their table.

inline uint64_t BlockCount(uint64_t data_size) { return (data_size + kBlockSize - 1) / kBlockSize; }
// With its checksum.
inline uint64_t TableSize(uint64_t data_size) { return (BlockCount(data_size) + 1) * sizeof(uint64_t); }

// The checksum of each block, from a file of `data_size` + TableSize bytes. DATA_LOSS: damaged.
absl::StatusOr<std::vector<uint64_t>> ReadTable(const File& file, uint64_t data_size);

// DATA_LOSS: which block does not match its checksum, and the sections in it.
absl::Status BadBlock(uint64_t block, uint64_t data_size, const std::vector<FileSection>& sections);

// Reads all blocks, in order, and compares them with the table. DATA_LOSS: BadBlock.
absl::Status CheckBlocks(const File& file, uint64_t data_size, const std::vector<FileSection>& sections,
                         const ByteProgress& progress = {});

// Reads what was written, writes the table after it and makes the file durable.
absl::Status SealFile(File& file, uint64_t data_size);

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_CHECKED_FILE_H_
