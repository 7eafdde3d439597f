// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <string_view>
#include <utility>

#include "server/text/tokenizer.h"
#include "server/text/utf8.h"

namespace mtm {

std::string StreamDecoder::Append(int32_t id) {
  pending_.append(tokenizer_->TokenBytes(id));
  const size_t settled = SettledUtf8Length(pending_);
  std::string text = ReplaceInvalidUtf8(std::string_view(pending_).substr(0, settled));
  pending_.erase(0, settled);
  return text;
}

std::string StreamDecoder::Finish() { return ReplaceInvalidUtf8(std::exchange(pending_, std::string())); }

}  // namespace mtm
