// SPDX-License-Identifier: Apache-2.0
#include "client/render/table.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/render/columns.h"
#include "client/render/text_width.h"

namespace mtm::client {
namespace {

constexpr int kGap = 2;
constexpr int kNarrowestLast = 24;

std::string Spaces(int count) { return std::string(static_cast<size_t>(std::max(count, 0)), ' '); }

std::string TrimmedRight(std::string text) {
  text.erase(text.find_last_not_of(' ') + 1);
  return text;
}

std::string Fit(const std::string& cell, int width, Align align) {
  return align == Align::kLeft ? FitLeft(cell, width) : FitRight(cell, width);
}

std::vector<int> Widths(const std::vector<Column>& columns, const std::vector<Row>& rows) {
  std::vector<int> widths;
  for (size_t i = 0; i < columns.size(); ++i) {
    int widest = DisplayWidth(columns[i].heading);
    for (const Row& row : rows) widest = std::max(widest, DisplayWidth(row[i]));
    widths.push_back(widest);
  }
  return widths;
}

}  // namespace

std::string RenderTable(const std::vector<Column>& columns, const std::vector<Row>& rows, int width,
                        const Style& style) {
  const std::vector<int> widths = Widths(columns, rows);
  const size_t last = columns.size() - 1;
  int before_last = 0;
  for (size_t i = 0; i < last; ++i) before_last += widths[i] + kGap;
  int last_width = widths[last];
  if (width > 0 && columns[last].align == Align::kLeft) {
    last_width = std::min(last_width, std::max(width - before_last, kNarrowestLast));
  }

  const auto leading = [&](const auto& cell_of) {
    std::string line;
    for (size_t i = 0; i < last; ++i)
      absl::StrAppend(&line, Fit(cell_of(i), widths[i], columns[i].align), "  ");
    return line;
  };
  std::string heading = leading([&](size_t i) { return columns[i].heading; });
  absl::StrAppend(&heading,
                  Fit(columns[last].heading, std::max(last_width, DisplayWidth(columns[last].heading)),
                      columns[last].align));
  std::string out = style.Bold(TrimmedRight(heading)) + "\n";
  for (const Row& row : rows) {
    std::string line = leading([&](size_t i) { return row[i]; });
    if (columns[last].align == Align::kRight) {
      absl::StrAppend(&out, line, FitRight(row[last], last_width), "\n");
      continue;
    }
    for (const std::string& piece : WrapText(row[last], std::max(last_width, 2))) {
      absl::StrAppend(&out, TrimmedRight(line + piece), "\n");
      line = Spaces(before_last);
    }
  }
  return out;
}

std::string RenderFields(const std::vector<std::pair<std::string, std::string>>& fields, const Style& style) {
  int widest = 0;
  for (const auto& [name, value] : fields) widest = std::max(widest, DisplayWidth(name));
  std::string out;
  for (const auto& [name, value] : fields) {
    absl::StrAppend(&out, style.Dim(FitLeft(name, widest)), "  ", value, "\n");
  }
  return out;
}

}  // namespace mtm::client
