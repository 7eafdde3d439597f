// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_RENDER_COLUMNS_H_
#define MTM_CLIENT_RENDER_COLUMNS_H_

#include <string>
#include <string_view>
#include <vector>

#include "client/render/style.h"

namespace mtm::client {

// Lines of at most `width` columns, broken at spaces where there are some, at line feeds always. Control
// characters come out escaped. At least one line, possibly empty. Precondition: width >= 2.
std::vector<std::string> WrapText(std::string_view text, int width);

struct Panel {
  std::string title;
  std::string text;
};

// Two panels beside each other, `width` columns in all; one under the other where that leaves either with
// less than
// 24. Ends in a line feed.
std::string SideBySide(const Panel& left, const Panel& right, int width, const Style& style);

// Two panels one under the other, texts unwrapped: for files and pipes.
std::string Stacked(const Panel& first, const Panel& second, const Style& style);

}  // namespace mtm::client

#endif  // MTM_CLIENT_RENDER_COLUMNS_H_
