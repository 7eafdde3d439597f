// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_RENDER_TEXT_WIDTH_H_
#define MTM_CLIENT_RENDER_TEXT_WIDTH_H_

#include <cstddef>
#include <string>
#include <string_view>

// Text as a terminal's columns. UTF-8 throughout; a byte that is no UTF-8 counts and prints as U+FFFD.
namespace mtm::client {

struct CodePoint {
  char32_t value = 0;
  size_t size = 1;  // bytes taken
};

// The first code point of `text`, which is not empty.
CodePoint FirstCodePoint(std::string_view text);

// 0 for combining marks and control characters, 2 for East Asian wide ones and emoji, else 1.
int CodePointWidth(char32_t code_point);

int DisplayWidth(std::string_view text);

// Safe to print on one line: line feed as ⏎, tab as ⇥, other control characters as \xHH, bidirectional
// overrides as \uHHHH, what is no UTF-8 as U+FFFD.
std::string EscapeControl(std::string_view text);

// As EscapeControl, line feeds and tabs left as they are: for running text on a terminal.
std::string EscapeControlKeepingLines(std::string_view text);

// `text` in exactly `width` columns: padded with spaces, or cut with … at the end.
std::string FitLeft(std::string_view text, int width);
std::string FitRight(std::string_view text, int width);

}  // namespace mtm::client

#endif  // MTM_CLIENT_RENDER_TEXT_WIDTH_H_
