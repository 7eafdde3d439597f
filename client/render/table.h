// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_RENDER_TABLE_H_
#define MTM_CLIENT_RENDER_TABLE_H_

#include <string>
#include <vector>

#include "client/render/style.h"

namespace mtm::client {

enum class Align { kLeft, kRight };

struct Column {
  std::string heading;
  Align align = Align::kLeft;
};

using Row = std::vector<std::string>;

// Each column as wide as its widest cell, two spaces between; no row ends in spaces. The last column, where
// it is flush left, wraps at spaces under itself to stay within `width`; 0 means no limit. Cells hold no
// control characters. Every row has a cell for each column.
std::string RenderTable(const std::vector<Column>& columns, const std::vector<Row>& rows, int width,
                        const Style& style);

// `name  value` lines, names in one column.
std::string RenderFields(const std::vector<std::pair<std::string, std::string>>& fields, const Style& style);

}  // namespace mtm::client

#endif  // MTM_CLIENT_RENDER_TABLE_H_
