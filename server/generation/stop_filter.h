// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_GENERATION_STOP_FILTER_H_
#define MTM_SERVER_GENERATION_STOP_FILTER_H_

#include <string>
#include <vector>

namespace mtm {

// Passes a growing text on until the first of some strings appears in it, and holds back what could be the beginning
// of one.
class StopFilter {
 public:
  explicit StopFilter(std::vector<std::string> stop) : stop_(std::move(stop)) {}

  // The text that can be passed on now. Once stopped() it ends just before the stop string.
  std::string Append(const std::string& text);

  // What was held back and was no stop string after all.
  std::string Finish();

  bool stopped() const { return stopped_; }

 private:
  size_t FirstStop() const;
  size_t HeldBytes() const;

  std::vector<std::string> stop_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace mtm

#endif  // MTM_SERVER_GENERATION_STOP_FILTER_H_
