// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_GENERATION_OCCURRENCES_H_
#define MTM_SERVER_GENERATION_OCCURRENCES_H_

#include <cstddef>
#include <string_view>
#include <vector>

namespace mtm {

// Bytes [begin, end).
struct ByteRange {
  size_t begin = 0;
  size_t end = 0;

  friend bool operator==(const ByteRange&, const ByteRange&) = default;
};

// Where `text` has `pattern`, which is not empty: ascending, those that overlap or touch as one. Time is
// linear in both, whatever they are (Knuth, Morris and Pratt).
std::vector<ByteRange> FindOccurrences(std::string_view text, std::string_view pattern);

}  // namespace mtm

#endif  // MTM_SERVER_GENERATION_OCCURRENCES_H_
