// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_TESTS_TEXT_RANDOM_TEXT_H_
#define MTM_TESTS_TEXT_RANDOM_TEXT_H_

#include <array>
#include <cstdint>
#include <random>
#include <string>

namespace mtm {

inline void AppendUtf8(uint32_t c, std::string* text) {
  const auto tail = [&](int shift) { text->push_back(static_cast<char>(0x80 | ((c >> shift) & 0x3F))); };
  if (c < 0x80) {
    text->push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    text->push_back(static_cast<char>(0xC0 | (c >> 6)));
    tail(0);
  } else if (c < 0x10000) {
    text->push_back(static_cast<char>(0xE0 | (c >> 12)));
    tail(6);
    tail(0);
  } else {
    text->push_back(static_cast<char>(0xF0 | (c >> 18)));
    tail(12);
    tail(6);
    tail(0);
  }
}

// Valid UTF-8 in which words, runs of spaces, contractions, digits and any other character meet.
inline std::string RandomText(size_t characters, std::mt19937_64* random) {
  const auto below = [&](uint32_t n) { return static_cast<uint32_t>((*random)() % n); };
  static constexpr std::array<uint32_t, 10> kSpaces = {' ',  ' ',  ' ',  '\n',   '\t',
                                                       '\r', 0x85, 0xA0, 0x180E, 0x3000};
  std::string text;
  for (size_t i = 0; i < characters; ++i) {
    switch (below(6)) {
      case 0:
      case 1:
        AppendUtf8('a' + below(26), &text);
        break;
      case 2:
        AppendUtf8(kSpaces[below(kSpaces.size())], &text);
        break;
      case 3:
        AppendUtf8(below(0x80), &text);
        break;
      case 4:
        AppendUtf8(0x80 + below(0xD800 - 0x80), &text);
        break;
      default:
        AppendUtf8(0xE000 + below(0x110000 - 0xE000), &text);
    }
  }
  return text;
}

inline std::string RandomBytes(size_t size, std::mt19937_64* random) {
  std::string bytes;
  for (size_t i = 0; i < size; ++i) bytes.push_back(static_cast<char>((*random)()));
  return bytes;
}

}  // namespace mtm

#endif  // MTM_TESTS_TEXT_RANDOM_TEXT_H_
