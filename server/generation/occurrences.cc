// SPDX-License-Identifier: Apache-2.0
#include "server/generation/occurrences.h"

namespace mtm {
namespace {

// For each length n of a prefix, from 1: the longest shorter prefix that it ends in.
std::vector<size_t> Borders(std::string_view pattern) {
  std::vector<size_t> borders(pattern.size() + 1, 0);
  for (size_t n = 1, border = 0; n < pattern.size(); ++n) {
    while (border > 0 && pattern[n] != pattern[border]) border = borders[border];
    if (pattern[n] == pattern[border]) ++border;
    borders[n + 1] = border;
  }
  return borders;
}

}  // namespace

std::vector<ByteRange> FindOccurrences(std::string_view text, std::string_view pattern) {
  const std::vector<size_t> borders = Borders(pattern);
  std::vector<ByteRange> found;
  size_t matched = 0;  // bytes of the pattern that the text up to here ends in
  for (size_t i = 0; i < text.size(); ++i) {
    while (matched > 0 && (matched == pattern.size() || text[i] != pattern[matched])) {
      matched = borders[matched];
    }
    if (text[i] == pattern[matched]) ++matched;
    if (matched < pattern.size()) continue;
    const ByteRange range{i + 1 - pattern.size(), i + 1};
    if (!found.empty() && range.begin <= found.back().end) {
      found.back().end = range.end;
    } else {
      found.push_back(range);
    }
  }
  return found;
}

}  // namespace mtm
