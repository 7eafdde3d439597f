// SPDX-License-Identifier: Apache-2.0
#include "client/render/progress_bar.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/render/format.h"
#include "client/render/text_width.h"

namespace mtm::client {
namespace {

constexpr int kWidestBar = 30;
constexpr int kNarrowestBar = 8;

std::string Bar(double fraction, int width) {
  constexpr const char* kEighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const int eighths = static_cast<int>(fraction * width * 8);
  std::string bar;
  for (int i = 0; i < eighths / 8; ++i) bar += "█";
  bar += kEighths[eighths % 8];
  return FitLeft(bar, width);
}

// "4 s left" would jump about in the first moments.
std::string TimeLeft(int64_t done, int64_t total, absl::Duration elapsed) {
  if (done <= 0 || done >= total || elapsed < absl::Milliseconds(500)) return "";
  const absl::Duration left = elapsed * (static_cast<double>(total - done) / static_cast<double>(done));
  if (left < absl::Minutes(1)) return absl::StrFormat("  %d s left", absl::ToInt64Seconds(left) + 1);
  return absl::StrCat("  ", FormatElapsed(left), " left");
}

}  // namespace

std::string RenderProgress(const std::string& label, int64_t done, int64_t total, absl::Duration elapsed,
                           int width) {
  const bool known = total > 0;
  const double fraction =
      known ? std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0) : 0;
  std::vector<std::string> parts;
  parts.push_back(known ? absl::StrFormat("  %s/%s tokens", FormatCount(done), FormatCount(total))
                        : absl::StrCat("  ", FormatCounted(done, "token")));
  if (known) parts.push_back(absl::StrFormat("  %d %%", static_cast<int>(100 * fraction)));
  if (done > 0 && elapsed > absl::ZeroDuration()) {
    const double rate = static_cast<double>(done) / absl::ToDoubleSeconds(elapsed);
    parts.push_back(absl::StrFormat("  %s/s", FormatCount(static_cast<int64_t>(rate))));
  }
  if (known) parts.push_back(TimeLeft(done, total, elapsed));

  int used = DisplayWidth(label);
  for (const std::string& part : parts) used += DisplayWidth(part);
  std::string line = label;
  if (known && width - used - 2 >= kNarrowestBar) {
    absl::StrAppend(&line, "  ", Bar(fraction, std::min(width - used - 2, kWidestBar)));
  }
  for (const std::string& part : parts) {
    if (DisplayWidth(line) + DisplayWidth(part) > width) break;
    line += part;
  }
  return DisplayWidth(line) > width ? FitLeft(line, std::max(width, 0)) : line;
}

}  // namespace mtm::client
