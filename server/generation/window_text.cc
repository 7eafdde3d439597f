// SPDX-License-Identifier: Apache-2.0
#include "server/generation/window_text.h"

#include <algorithm>

#include "server/text/utf8.h"

namespace mtm {

using Tokens = std::vector<int32_t>;

WindowText::WindowText(std::span<const int32_t> tokens, const Tokenizer& tokenizer)
    : tokens_(tokens), tokenizer_(tokenizer), begins_{0} {
  for (const int32_t token : tokens) {
    text_ += tokenizer.TokenBytes(token);
    begins_.push_back(text_.size());
  }
}

Tokens WindowText::Without(const std::vector<ByteRange>& ranges, int vocab_size) const {
  std::optional<Tokens> encoded = Encode(Rest(ranges), vocab_size);
  return encoded ? *std::move(encoded) : TokensBeside(ranges);
}

std::string WindowText::Rest(const std::vector<ByteRange>& ranges) const {
  std::string rest;
  size_t end = 0;
  for (const ByteRange& range : ranges) {
    rest.append(text_, end, range.begin - end);
    end = range.end;
  }
  return rest.append(text_, end);
}

std::optional<Tokens> WindowText::Encode(const std::string& rest, int vocab_size) const {
  const auto stands_for_no_text = [&](int32_t token) {
    return token == tokenizer_.end_of_text() || tokenizer_.TokenBytes(token).empty();
  };
  if (FindInvalidUtf8(rest) || std::ranges::any_of(tokens_, stands_for_no_text)) return std::nullopt;
  absl::StatusOr<Tokens> ids = tokenizer_.Encode(rest);
  if (!ids.ok() || std::ranges::any_of(*ids, [&](int32_t id) { return id >= vocab_size; })) {
    return std::nullopt;
  }
  return *std::move(ids);
}

Tokens WindowText::TokensBeside(const std::vector<ByteRange>& ranges) const {
  Tokens kept;
  auto range = ranges.begin();
  for (size_t i = 0; i < tokens_.size(); ++i) {
    while (range != ranges.end() && range->end <= begins_[i]) ++range;
    const bool overlaps = range != ranges.end() && range->begin < begins_[i + 1];
    if (!overlaps) kept.push_back(tokens_[i]);
  }
  return kept;
}

}  // namespace mtm
