// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_GENERATION_REVISION_H_
#define MTM_SERVER_GENERATION_REVISION_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "memory_store/memory_store.h"

namespace mtm {

// A window of a segment to be written: tokens to be run behind the leading ones, or a window of the base,
// copied.
struct OutputWindow {
  int64_t n_tokens = 0;
  std::string source;
  std::vector<int32_t> tokens;  // to be run; empty where it is copied
  std::optional<size_t> copied = {};
};

// What becomes of a base: `windows` in one segment, instead of the segments in `run`.
struct Revision {
  SegmentRun run;
  std::vector<OutputWindow> windows;
};

// Appends windows of at most `capacity` of the tokens.
void CutIntoWindows(std::span<const int32_t> tokens, size_t capacity, const std::string& source,
                    std::vector<OutputWindow>& windows);

// The base's windows that lie in `run`: [first, first + count).
struct WindowRange {
  size_t first = 0;
  size_t count = 0;
};
WindowRange WindowsOf(const Memory& base, const SegmentRun& run);

// Further windows behind the base's, of at most `capacity` tokens.
Revision PlanAppend(const Memory& base, std::span<const int32_t> tokens, const std::string& source,
                    size_t capacity);

}  // namespace mtm

#endif  // MTM_SERVER_GENERATION_REVISION_H_
