// SPDX-License-Identifier: Apache-2.0
#include "client/options/lists.h"

#include <cctype>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace mtm::client {
namespace {

// No model has more layers; a mistyped range does.
constexpr int32_t kMostLayers = 10000;

// Digits only: SimpleAtoi would take signs and spaces.
template <typename Number>
bool ParseNumber(const std::string& text, Number& number) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos &&
         absl::SimpleAtoi(text, &number);
}

}  // namespace

absl::StatusOr<std::vector<int32_t>> ParseLayers(std::string_view text) {
  const auto refuse = [&] {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", std::string(text), "\" is no list of layers, such as 7,8,9 or 7-9"));
  };
  std::vector<int32_t> layers;
  const std::vector<std::string> items = absl::StrSplit(std::string(text), ',');
  for (const std::string& item : items) {
    const std::pair<std::string, std::string> ends = absl::StrSplit(item, absl::MaxSplits('-', 1));
    const bool is_range = item.find('-') != std::string::npos;
    int32_t first = 0;
    int32_t last = 0;
    if (!ParseNumber(ends.first, first)) return refuse();
    if (!ParseNumber(is_range ? ends.second : ends.first, last)) return refuse();
    if (last < first || last > kMostLayers) return refuse();
    for (int32_t layer = first; layer <= last; ++layer) layers.push_back(layer);
  }
  return layers;
}

absl::Status TokenIdParser::Complete(std::vector<int32_t>& ids) {
  if (pending_.empty()) return absl::OkStatus();
  int32_t id = 0;
  if (!ParseNumber(pending_, id)) {
    return absl::InvalidArgumentError(absl::StrCat("\"", pending_, "\" is no token id"));
  }
  ids.push_back(id);
  pending_.clear();
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int32_t>> TokenIdParser::Add(std::string_view piece) {
  constexpr size_t kLongest = 32;  // a file that holds no token ids shows early
  std::vector<int32_t> ids;
  for (const char c : piece) {
    const bool separator = std::isspace(static_cast<unsigned char>(c)) || c == ',' || c == '[' || c == ']';
    if (!separator) pending_ += c;
    if (!separator && pending_.size() <= kLongest) continue;
    if (absl::Status status = Complete(ids); !status.ok()) return status;
  }
  return ids;
}

absl::StatusOr<std::vector<int32_t>> TokenIdParser::Finish() {
  std::vector<int32_t> ids;
  if (absl::Status status = Complete(ids); !status.ok()) return status;
  return ids;
}

absl::StatusOr<std::vector<int32_t>> ParseTokenIds(std::string_view text) {
  TokenIdParser parser;
  auto ids = parser.Add(text);
  if (!ids.ok()) return ids;
  auto last = parser.Finish();
  if (!last.ok()) return last;
  ids->insert(ids->end(), last->begin(), last->end());
  return ids;
}

absl::StatusOr<TokenRange> ParseTokenRange(std::string_view text) {
  const std::pair<std::string, std::string> parts =
      absl::StrSplit(std::string(text), absl::MaxSplits(':', 1));
  TokenRange range;
  if (!ParseNumber(parts.first, range.first) || !ParseNumber(parts.second, range.count) || range.count == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", std::string(text), "\" is no range of tokens, such as 0:90 (FIRST:COUNT)"));
  }
  return range;
}

}  // namespace mtm::client
