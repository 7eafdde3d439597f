// SPDX-License-Identifier: Apache-2.0
#include "server/text/utf8.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace mtm {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

enum class State { kComplete, kBroken, kUnfinished };

struct Sequence {
  State state;
  size_t length;  // of the character, or of the maximal subpart that is none; at least 1
};

// What a lead byte asks for. Ranges of the second byte rule out overlong forms, surrogates and values above
// U+10FFFF.
struct Lead {
  size_t length;  // 0: no lead byte
  unsigned char second_low = 0x80;
  unsigned char second_high = 0xBF;
};

Lead ReadLead(unsigned char byte) {
  if (byte < 0x80) return {1};
  if (byte < 0xC2) return {0};
  if (byte < 0xE0) return {2};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte < 0xF0) return {3};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0};
}

Sequence ReadSequence(std::string_view text) {
  const Lead lead = ReadLead(static_cast<unsigned char>(text[0]));
  if (lead.length == 0) return {State::kBroken, 1};
  for (size_t i = 1; i < lead.length; ++i) {
    if (i == text.size()) return {State::kUnfinished, i};
    const auto byte = static_cast<unsigned char>(text[i]);
    const unsigned char low = i == 1 ? lead.second_low : 0x80;
    const unsigned char high = i == 1 ? lead.second_high : 0xBF;
    if (byte < low || byte > high) return {State::kBroken, i};
  }
  return {State::kComplete, lead.length};
}

bool EightAsciiBytes(const char* data) {
  uint64_t word;
  std::memcpy(&word, data, sizeof(word));
  return (word & 0x8080808080808080u) == 0;
}

}  // namespace

std::optional<size_t> FindInvalidUtf8(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    if (text.size() - at >= 8 && EightAsciiBytes(text.data() + at)) {
      at += 8;
      continue;
    }
    const Sequence sequence = ReadSequence(text.substr(at));
    if (sequence.state != State::kComplete) return at;
    at += sequence.length;
  }
  return std::nullopt;
}

std::string ReplaceInvalidUtf8(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const size_t valid = FindInvalidUtf8(text).value_or(text.size());
    result.append(text.substr(0, valid));
    text.remove_prefix(valid);
    if (text.empty()) break;
    result.append(kReplacement);
    text.remove_prefix(ReadSequence(text).length);
  }
  return result;
}

size_t SettledUtf8Length(std::string_view text) {
  const size_t stop = text.size() - std::min<size_t>(text.size(), 3);
  for (size_t at = text.size(); at > stop;) {
    --at;
    const bool continuation = (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80;
    if (continuation) continue;
    return ReadSequence(text.substr(at)).state == State::kUnfinished ? at : text.size();
  }
  return text.size();
}

}  // namespace mtm
