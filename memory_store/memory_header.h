// SPDX-License-Identifier: Apache-2.0
// Preamble and header of a memory file: a MemoryLayout as bytes.
#ifndef MTM_MEMORY_STORE_MEMORY_HEADER_H_
#define MTM_MEMORY_STORE_MEMORY_HEADER_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "memory_store/memory_layout.h"

namespace mtm {

inline constexpr std::string_view kMemoryFileMagic = "MTMMEM\r\n";
inline constexpr uint32_t kMemoryFileVersion = 1;
inline constexpr uint64_t kPreambleSize = 32;

struct Preamble {
  uint32_t header_size = 0;
  uint64_t data_size = 0;
  uint64_t checksum = 0;
};

// Preamble and header as bytes.
std::string EncodeHead(const MemoryLayout& layout);

// DATA_LOSS: no preamble. The version is judged by DecodeHead, when the checksum has shown it to be what was
// written.
absl::StatusOr<Preamble> DecodePreamble(std::span<const std::byte> bytes);

// `head` is preamble and header. DATA_LOSS: damaged or contradictory; FAILED_PRECONDITION: of a newer
// version.
absl::StatusOr<MemoryLayout> DecodeHead(std::span<const std::byte> head);

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_MEMORY_HEADER_H_
