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

// Of each second; 0 where that is not known yet.
double Rate(const Progress& progress) {
  if (progress.done <= progress.first || progress.elapsed <= absl::ZeroDuration()) return 0;
  return static_cast<double>(progress.done - progress.first) / absl::ToDoubleSeconds(progress.elapsed);
}

// "4 s left" would jump about in the first moments.
std::string TimeLeft(const Progress& progress) {
  const double rate = Rate(progress);
  if (rate <= 0 || progress.done >= progress.total || progress.elapsed < absl::Milliseconds(500)) return "";
  const absl::Duration left = absl::Seconds(static_cast<double>(progress.total - progress.done) / rate);
  if (left < absl::Minutes(1)) return absl::StrFormat("  %d s left", absl::ToInt64Seconds(left) + 1);
  return absl::StrCat("  ", FormatElapsed(left), " left");
}

std::string CountText(const Progress& progress) {
  if (progress.unit == ProgressUnit::kBytes) {
    const std::string done = FormatBytes(progress.done);
    return progress.total > 0 ? absl::StrCat(done, "/", FormatBytes(progress.total)) : done;
  }
  if (progress.total <= 0) return FormatCounted(progress.done, "token");
  return absl::StrCat(FormatCount(progress.done), "/", FormatCounted(progress.total, "token"));
}

std::string RateText(const Progress& progress) {
  const auto rate = static_cast<int64_t>(Rate(progress));
  return absl::StrCat(progress.unit == ProgressUnit::kBytes ? FormatBytes(rate) : FormatCount(rate), "/s");
}

}  // namespace

std::string RenderProgress(const std::string& label, const Progress& progress, int width) {
  const bool known = progress.total > 0;
  const double fraction =
      known ? std::clamp(static_cast<double>(progress.done) / static_cast<double>(progress.total), 0.0, 1.0)
            : 0;
  std::vector<std::string> parts;
  parts.push_back(absl::StrCat("  ", CountText(progress)));
  if (known) parts.push_back(absl::StrFormat("  %d %%", static_cast<int>(100 * fraction)));
  if (Rate(progress) > 0) parts.push_back(absl::StrCat("  ", RateText(progress)));
  if (known) parts.push_back(TimeLeft(progress));

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
