// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_GENERATION_WINDOW_TEXT_H_
#define MTM_SERVER_GENERATION_WINDOW_TEXT_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "server/generation/occurrences.h"
#include "server/text/tokenizer.h"

namespace mtm {

// The text of a window's tokens, to take parts out of.
class WindowText {
 public:
  // Both outlive this.
  WindowText(std::span<const int32_t> tokens, const Tokenizer& tokenizer);

  const std::string& text() const { return text_; }

  // What is left without `ranges` of the text, ascending and disjoint: the rest's own tokens, all below
  // `vocab_size`. Where the rest is no UTF-8, or a token stands for no text: the tokens that do not overlap
  // with a range.
  std::vector<int32_t> Without(const std::vector<ByteRange>& ranges, int vocab_size) const;

 private:
  std::string Rest(const std::vector<ByteRange>& ranges) const;
  std::optional<std::vector<int32_t>> Encode(const std::string& rest, int vocab_size) const;
  std::vector<int32_t> TokensBeside(const std::vector<ByteRange>& ranges) const;

  const std::span<const int32_t> tokens_;
  const Tokenizer& tokenizer_;
  std::string text_;
  std::vector<size_t> begins_;  // [tokens + 1]: where each lies in the text
};

}  // namespace mtm

#endif  // MTM_SERVER_GENERATION_WINDOW_TEXT_H_
