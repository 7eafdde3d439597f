// SPDX-License-Identifier: Apache-2.0
#include "client/render/columns.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "client/render/text_width.h"

namespace mtm::client {
namespace {

constexpr int kNarrowestPanel = 24;

// Appends one line of the source, without line feeds, as lines of at most `width` columns.
void WrapLine(std::string_view line, int width, std::vector<std::string>& lines) {
  std::string current;
  int used = 0;
  size_t break_at = std::string::npos;  // in `current`, after the last space
  while (!line.empty()) {
    const CodePoint point = FirstCodePoint(line);
    const int next = CodePointWidth(point.value);
    if (used + next > width) {
      if (point.value == ' ') {  // spaces where the line breaks anyway
        line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
        lines.push_back(std::move(current));
        if (line.empty()) return;
        current.clear();
      } else {
        const size_t cut = break_at == std::string::npos ? current.size() : break_at;
        std::string rest = current.substr(cut);
        current.resize(cut);
        while (!current.empty() && current.back() == ' ') current.pop_back();
        lines.push_back(std::move(current));
        current = std::move(rest);
      }
      used = DisplayWidth(current);
      break_at = std::string::npos;
      continue;
    }
    current += line.substr(0, point.size);
    used += next;
    if (point.value == ' ' && current.find_first_not_of(' ') != std::string::npos) break_at = current.size();
    line.remove_prefix(point.size);
  }
  lines.push_back(std::move(current));
}

std::string Rule(int width) {
  std::string rule;
  for (int i = 0; i < width; ++i) rule += "─";
  return rule;
}

std::string Under(const Panel& panel, const std::string& body, const Style& style) {
  return absl::StrCat(style.Bold(absl::StrCat("── ", panel.title, " ──")), "\n", body, "\n");
}

std::string Joined(const std::vector<std::string>& lines) {
  std::string text;
  for (size_t i = 0; i < lines.size(); ++i) absl::StrAppend(&text, i ? "\n" : "", lines[i]);
  return text;
}

}  // namespace

std::vector<std::string> WrapText(std::string_view text, int width) {
  std::vector<std::string> lines;
  while (true) {
    const size_t end = text.find('\n');
    // A tab's width depends on where it stands: two spaces do not.
    std::string line;
    for (const char c : text.substr(0, end)) line += c == '\t' ? std::string("  ") : std::string(1, c);
    WrapLine(EscapeControl(line), width, lines);
    if (end == std::string_view::npos) return lines;
    text.remove_prefix(end + 1);
  }
}

std::string SideBySide(const Panel& left, const Panel& right, int width, const Style& style) {
  const int left_width = (width - 3) / 2;
  const int right_width = width - 3 - left_width;
  if (left_width < kNarrowestPanel) {
    const int usable = std::max(width, 2);
    return Under(left, Joined(WrapText(left.text, usable)), style) + "\n" +
           Under(right, Joined(WrapText(right.text, usable)), style);
  }
  const std::string bar = style.Dim(" │ ");
  std::string out = absl::StrCat(style.Bold(FitLeft(left.title, left_width)), bar,
                                 style.Bold(FitLeft(right.title, right_width)), "\n",
                                 style.Dim(Rule(left_width) + "─┼─" + Rule(right_width)), "\n");
  const std::vector<std::string> left_lines = WrapText(left.text, left_width);
  const std::vector<std::string> right_lines = WrapText(right.text, right_width);
  for (size_t i = 0; i < std::max(left_lines.size(), right_lines.size()); ++i) {
    const std::string& left_line = i < left_lines.size() ? left_lines[i] : std::string();
    const std::string& right_line = i < right_lines.size() ? right_lines[i] : std::string();
    absl::StrAppend(&out, FitLeft(left_line, left_width), bar, right_line, "\n");
  }
  return out;
}

std::string Stacked(const Panel& first, const Panel& second, const Style& style) {
  return Under(first, first.text, style) + "\n" + Under(second, second.text, style);
}

}  // namespace mtm::client
