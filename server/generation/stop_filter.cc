// SPDX-License-Identifier: Apache-2.0
#include "server/generation/stop_filter.h"

#include <algorithm>
#include <utility>

namespace mtm {

// Offset of the earliest stop string in held_, or npos.
size_t StopFilter::FirstStop() const {
  size_t first = std::string::npos;
  for (const std::string& stop : stop_) first = std::min(first, held_.find(stop));
  return first;
}

// Length of the longest end of held_ that begins a stop string.
size_t StopFilter::HeldBytes() const {
  size_t longest = 0;
  for (const std::string& stop : stop_) {
    for (size_t n = std::min(stop.size() - 1, held_.size()); n > longest; --n) {
      if (held_.compare(held_.size() - n, n, stop, 0, n) == 0) longest = n;
    }
  }
  return longest;
}

std::string StopFilter::Append(const std::string& text) {
  if (stopped_) return {};
  held_ += text;
  size_t pass = FirstStop();
  stopped_ = pass != std::string::npos;
  if (!stopped_) pass = held_.size() - HeldBytes();
  std::string out = held_.substr(0, pass);
  held_.erase(0, stopped_ ? std::string::npos : pass);
  return out;
}

std::string StopFilter::Finish() { return std::exchange(held_, {}); }

}  // namespace mtm
