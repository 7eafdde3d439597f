// SPDX-License-Identifier: Apache-2.0
// Where everything lies in a memory file: FORMAT.md in code, for the writer and the reader alike.
#ifndef MTM_MEMORY_STORE_MEMORY_LAYOUT_H_
#define MTM_MEMORY_STORE_MEMORY_LAYOUT_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "memory_store/digest.h"
#include "memory_store/memory.h"

namespace mtm {

inline constexpr std::string_view kMemoryFileMagic = "MTMMEM\r\n";
inline constexpr uint32_t kMemoryFileVersion = 1;
inline constexpr uint64_t kPreambleSize = 32;
inline constexpr uint64_t kMaxHeaderSize = 1 << 20;
inline constexpr uint64_t kSectionAlignment = 4096;
inline constexpr uint64_t kBlockSize = 1 << 20;

struct MemorySection {
  std::string kind;  // "tokens", "keys", "values" or one that this version does not know
  int layer = 0;     // 0: of no layer
  uint64_t offset = 0;
  uint64_t size = 0;

  std::string Describe() const;  // "keys of layer 7"
};

struct MemoryLayout {
  MemorySpec spec;
  std::vector<MemorySection> sections;  // ascending by offset
  uint64_t data_size = 0;               // where the table begins

  const MemorySection& Find(std::string_view kind, int layer) const;  // precondition: it is there
  uint64_t n_blocks() const { return (data_size + kBlockSize - 1) / kBlockSize; }
  uint64_t file_size() const { return data_size + TableSize(); }
  // Table, digest and checksum.
  uint64_t TableSize() const {
    return n_blocks() * sizeof(uint64_t) + sizeof(Sha256Digest) + sizeof(uint64_t);
  }
};

struct Preamble {
  uint32_t header_size = 0;
  uint64_t data_size = 0;
  uint64_t checksum = 0;
};

// INVALID_ARGUMENT names the field of a spec that is no memory: bad fingerprint, no or unordered layers, a
// number out of range.
absl::Status CheckSpec(const MemorySpec& spec);

// The writer's layout of a spec that CheckSpec accepts.
MemoryLayout LayOut(MemorySpec spec);

// Preamble and header as bytes.
std::string EncodeHead(const MemoryLayout& layout);

// DATA_LOSS: no preamble. The version is judged by DecodeHead, when the checksum has shown it to be what was
// written.
absl::StatusOr<Preamble> DecodePreamble(std::span<const std::byte> bytes);

// `head` is preamble and header. DATA_LOSS: damaged or contradictory; FAILED_PRECONDITION: of a newer
// version.
absl::StatusOr<MemoryLayout> DecodeHead(std::span<const std::byte> head);

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_MEMORY_LAYOUT_H_
