// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_RENDER_PROGRESS_BAR_H_
#define MTM_CLIENT_RENDER_PROGRESS_BAR_H_

#include <cstdint>
#include <string>

#include "absl/time/time.h"

namespace mtm::client {

// One line of at most `width` columns, as
//   cats  ███████▌        1,024/4,096 tokens  25 %  812/s  4 s left
// narrower ones leave out the bar, then what stands at the end. A total of 0 is unknown.
std::string RenderProgress(const std::string& label, int64_t done, int64_t total, absl::Duration elapsed,
                           int width);

}  // namespace mtm::client

#endif  // MTM_CLIENT_RENDER_PROGRESS_BAR_H_
