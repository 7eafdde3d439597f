// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_TOP_RENDER_ACTIVITY_H_
#define MTM_CLIENT_TOP_RENDER_ACTIVITY_H_

#include <string>

#include "absl/time/time.h"
#include "client/render/style.h"
#include "client/top/activity.h"

namespace mtm::client {

// A screen of it, fit for a terminal of `width` columns; 0: no limit. `now` tells how long the server has
// run.
std::string RenderActivity(const Activity& activity, absl::Time now, int width, const Style& style);

}  // namespace mtm::client

#endif  // MTM_CLIENT_TOP_RENDER_ACTIVITY_H_
