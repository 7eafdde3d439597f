// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_RENDER_PROGRESS_BAR_H_
#define MTM_CLIENT_RENDER_PROGRESS_BAR_H_

#include <cstdint>
#include <string>

#include "absl/time/time.h"

namespace mtm::client {

enum class ProgressUnit { kTokens, kBytes };

struct Progress {
  ProgressUnit unit = ProgressUnit::kTokens;
  int64_t first = 0;  // done when the clock started
  int64_t done = 0;
  int64_t total = 0;  // 0: unknown
  absl::Duration elapsed;
};

// One line of at most `width` columns, as
//   cats  ███████▌        1,024/4,096 tokens  25 %  812/s  4 s left
// narrower ones leave out the bar, then what stands at the end.
std::string RenderProgress(const std::string& label, const Progress& progress, int width);

}  // namespace mtm::client

#endif  // MTM_CLIENT_RENDER_PROGRESS_BAR_H_
