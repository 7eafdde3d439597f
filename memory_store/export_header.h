// SPDX-License-Identifier: Apache-2.0
// The first line of an export (FORMAT.md).
#ifndef MTM_MEMORY_STORE_EXPORT_HEADER_H_
#define MTM_MEMORY_STORE_EXPORT_HEADER_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace mtm {

struct ExportHeader {
  struct Segment {
    std::string digest;
    int64_t size_bytes = 0;

    friend bool operator==(const Segment&, const Segment&) = default;
  };

  std::string digest;  // of the version
  std::string source_digest;
  std::vector<Segment> segments;  // at least one

  friend bool operator==(const ExportHeader&, const ExportHeader&) = default;
};

// Longer than the header of any version.
inline constexpr size_t kMaxExportHeaderSize = 1 << 20;

// With the newline at its end.
std::string EncodeExportHeader(const ExportHeader& header);

// Without the newline. INVALID_ARGUMENT: it is none; FAILED_PRECONDITION: of another format.
absl::StatusOr<ExportHeader> DecodeExportHeader(std::string_view line);

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_EXPORT_HEADER_H_
