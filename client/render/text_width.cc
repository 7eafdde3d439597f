// SPDX-License-Identifier: Apache-2.0
#include "client/render/text_width.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_format.h"

namespace mtm::client {
namespace {

constexpr char32_t kReplacement = 0xFFFD;
constexpr std::string_view kReplacementUtf8 = "\xEF\xBF\xBD";

struct Range {
  char32_t first;
  char32_t last;
};

// Sorted. The C library's wcwidth would need a UTF-8 locale, which containers lack.
constexpr Range kZeroWidth[] = {
    {0x0300, 0x036F},   {0x0483, 0x0489}, {0x0591, 0x05BD}, {0x0610, 0x061A},   {0x064B, 0x065F},
    {0x0670, 0x0670},   {0x06D6, 0x06DC}, {0x06DF, 0x06E4}, {0x0730, 0x074A},   {0x0900, 0x0902},
    {0x093A, 0x093A},   {0x093C, 0x093C}, {0x0941, 0x0948}, {0x094D, 0x094D},   {0x0E31, 0x0E31},
    {0x0E34, 0x0E3A},   {0x0E47, 0x0E4E}, {0x1AB0, 0x1AFF}, {0x1DC0, 0x1DFF},   {0x200B, 0x200F},
    {0x202A, 0x202E},   {0x2060, 0x206F}, {0x20D0, 0x20FF}, {0x302A, 0x302D},   {0x3099, 0x309A},
    {0xFE00, 0xFE0F},   {0xFE20, 0xFE2F}, {0xFEFF, 0xFEFF}, {0x1F3FB, 0x1F3FF}, {0xE0001, 0xE007F},
    {0xE0100, 0xE01EF},
};

constexpr Range kWide[] = {
    {0x1100, 0x115F},   {0x231A, 0x231B},   {0x2329, 0x232A},   {0x23E9, 0x23EC},   {0x23F0, 0x23F0},
    {0x23F3, 0x23F3},   {0x25FD, 0x25FE},   {0x2614, 0x2615},   {0x2648, 0x2653},   {0x267F, 0x267F},
    {0x2693, 0x2693},   {0x26A1, 0x26A1},   {0x26AA, 0x26AB},   {0x26BD, 0x26BE},   {0x26C4, 0x26C5},
    {0x26CE, 0x26CE},   {0x26D4, 0x26D4},   {0x26EA, 0x26EA},   {0x26F2, 0x26F3},   {0x26F5, 0x26F5},
    {0x26FA, 0x26FA},   {0x26FD, 0x26FD},   {0x2705, 0x2705},   {0x270A, 0x270B},   {0x2728, 0x2728},
    {0x274C, 0x274C},   {0x274E, 0x274E},   {0x2753, 0x2755},   {0x2757, 0x2757},   {0x2795, 0x2797},
    {0x27B0, 0x27B0},   {0x27BF, 0x27BF},   {0x2B1B, 0x2B1C},   {0x2B50, 0x2B50},   {0x2B55, 0x2B55},
    {0x2E80, 0x303E},   {0x3041, 0x33FF},   {0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xA000, 0xA4CF},
    {0xA960, 0xA97F},   {0xAC00, 0xD7A3},   {0xF900, 0xFAFF},   {0xFE10, 0xFE19},   {0xFE30, 0xFE6F},
    {0xFF00, 0xFF60},   {0xFFE0, 0xFFE6},   {0x16FE0, 0x18CFF}, {0x1AFF0, 0x1B2FF}, {0x1F004, 0x1F004},
    {0x1F0CF, 0x1F0CF}, {0x1F18E, 0x1F18E}, {0x1F191, 0x1F19A}, {0x1F200, 0x1F320}, {0x1F32D, 0x1F335},
    {0x1F337, 0x1F37C}, {0x1F37E, 0x1F393}, {0x1F3A0, 0x1F3CA}, {0x1F3CF, 0x1F3D3}, {0x1F3E0, 0x1F3F0},
    {0x1F3F4, 0x1F3F4}, {0x1F3F8, 0x1F43E}, {0x1F440, 0x1F440}, {0x1F442, 0x1F4FC}, {0x1F4FF, 0x1F53D},
    {0x1F54B, 0x1F54E}, {0x1F550, 0x1F567}, {0x1F57A, 0x1F57A}, {0x1F595, 0x1F596}, {0x1F5A4, 0x1F5A4},
    {0x1F5FB, 0x1F64F}, {0x1F680, 0x1F6C5}, {0x1F6CC, 0x1F6CC}, {0x1F6D0, 0x1F6D2}, {0x1F6D5, 0x1F6D7},
    {0x1F6DC, 0x1F6DF}, {0x1F6EB, 0x1F6EC}, {0x1F6F4, 0x1F6FC}, {0x1F7E0, 0x1F7EB}, {0x1F7F0, 0x1F7F0},
    {0x1F90C, 0x1F93A}, {0x1F93C, 0x1F945}, {0x1F947, 0x1F9FF}, {0x1FA70, 0x1FAFF}, {0x20000, 0x3FFFD},
};

template <size_t N>
bool Contains(const Range (&ranges)[N], char32_t value) {
  const Range* after = std::upper_bound(std::begin(ranges), std::end(ranges), value,
                                        [](char32_t v, const Range& range) { return v < range.first; });
  return after != std::begin(ranges) && value <= std::prev(after)->last;
}

bool IsControl(char32_t value) { return value < 0x20 || (value >= 0x7F && value < 0xA0); }

// They turn the order of what follows on a terminal around.
bool IsBidiControl(char32_t value) {
  return (value >= 0x202A && value <= 0x202E) || (value >= 0x2066 && value <= 0x2069);
}

std::string Escape(std::string_view text, bool keep_lines) {
  std::string escaped;
  while (!text.empty()) {
    const CodePoint point = FirstCodePoint(text);
    const std::string_view bytes = text.substr(0, point.size);
    text.remove_prefix(point.size);
    if (keep_lines && (point.value == '\n' || point.value == '\t')) {
      escaped += bytes;
    } else if (point.value == '\n') {
      escaped += "⏎";
    } else if (point.value == '\t') {
      escaped += "⇥";
    } else if (IsControl(point.value)) {
      escaped += absl::StrFormat("\\x%02X", static_cast<unsigned>(point.value));
    } else if (IsBidiControl(point.value)) {
      escaped += absl::StrFormat("\\u%04X", static_cast<unsigned>(point.value));
    } else if (point.value == kReplacement) {
      escaped += kReplacementUtf8;
    } else {
      escaped += bytes;
    }
  }
  return escaped;
}

std::string Cut(std::string_view text, int width) {
  std::string cut;
  int used = 0;
  while (!text.empty()) {
    const CodePoint point = FirstCodePoint(text);
    const int next = CodePointWidth(point.value);
    if (used + next > width - 1) break;
    cut += text.substr(0, point.size);
    used += next;
    text.remove_prefix(point.size);
  }
  if (width > 0) cut += "…";
  return cut + std::string(static_cast<size_t>(std::max(0, width - 1 - used)), ' ');
}

}  // namespace

CodePoint FirstCodePoint(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  const size_t size = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < size) return {kReplacement, 1};
  char32_t value = lead & (0x7Fu >> size);
  for (size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {kReplacement, 1};
    value = value << 6 | (byte(i) & 0x3Fu);
  }
  const bool overlong = (size == 3 && value < 0x800) || (size == 4 && value < 0x10000);
  if (overlong || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) return {kReplacement, 1};
  return {value, size};
}

int CodePointWidth(char32_t code_point) {
  if (code_point < 0x300) return IsControl(code_point) ? 0 : 1;
  if (Contains(kZeroWidth, code_point)) return 0;
  return Contains(kWide, code_point) ? 2 : 1;
}

int DisplayWidth(std::string_view text) {
  int width = 0;
  while (!text.empty()) {
    const CodePoint point = FirstCodePoint(text);
    width += CodePointWidth(point.value);
    text.remove_prefix(point.size);
  }
  return width;
}

std::string EscapeControl(std::string_view text) { return Escape(text, /*keep_lines=*/false); }

std::string EscapeControlKeepingLines(std::string_view text) { return Escape(text, /*keep_lines=*/true); }

std::string FitLeft(std::string_view text, int width) {
  const int used = DisplayWidth(text);
  if (used > width) return Cut(text, width);
  return std::string(text) + std::string(static_cast<size_t>(width - used), ' ');
}

std::string FitRight(std::string_view text, int width) {
  const int used = DisplayWidth(text);
  if (used > width) return Cut(text, width);
  return std::string(static_cast<size_t>(width - used), ' ') + std::string(text);
}

}  // namespace mtm::client
