// SPDX-License-Identifier: Apache-2.0
// A segment's preamble and header: a SegmentLayout as bytes.
#ifndef MTM_MEMORY_STORE_SEGMENT_HEADER_H_
#define MTM_MEMORY_STORE_SEGMENT_HEADER_H_

#include <cstddef>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "memory_store/segment_layout.h"

namespace mtm {

std::string EncodeHead(const SegmentLayout& layout);

// `head` is preamble and header. DATA_LOSS: damaged or contradictory; FAILED_PRECONDITION: of another
// version, or with a data type or section that this one does not know.
absl::StatusOr<SegmentLayout> DecodeHead(std::span<const std::byte> head);

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_SEGMENT_HEADER_H_
