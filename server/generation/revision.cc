// SPDX-License-Identifier: Apache-2.0
#include "server/generation/revision.h"

#include <algorithm>

#include "memory_store/segment.h"

namespace mtm {

void CutIntoWindows(std::span<const int32_t> tokens, size_t capacity, const std::string& source,
                    std::vector<OutputWindow>& windows) {
  for (size_t first = 0; first < tokens.size(); first += capacity) {
    const auto part = tokens.subspan(first, std::min(capacity, tokens.size() - first));
    windows.push_back({.n_tokens = static_cast<int64_t>(part.size()),
                       .source = source,
                       .tokens = {part.begin(), part.end()}});
  }
}

WindowRange WindowsOf(const Memory& base, const SegmentRun& run) {
  WindowRange range;
  for (size_t i = 0; i < run.first + run.count; ++i) {
    (i < run.first ? range.first : range.count) += base.segments()[i]->windows().size();
  }
  return range;
}

Revision PlanAppend(const Memory& base, std::span<const int32_t> tokens, const std::string& source,
                    size_t capacity) {
  Revision revision{.run = SegmentsToMerge(base, static_cast<int64_t>(tokens.size()))};
  const WindowRange merged = WindowsOf(base, revision.run);
  const std::vector<MemoryWindow> windows = base.windows();
  for (size_t i = merged.first; i < merged.first + merged.count; ++i) {
    revision.windows.push_back({.n_tokens = windows[i].n_tokens, .source = windows[i].source, .copied = i});
  }
  CutIntoWindows(tokens, capacity, source, revision.windows);
  return revision;
}

}  // namespace mtm
