// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_COMMANDS_TEXT_PRINTER_H_
#define MTM_CLIENT_COMMANDS_TEXT_PRINTER_H_

#include <ostream>
#include <string>
#include <vector>

namespace mtm::client {

// Prints the texts of samples that grow side by side one after the other: the first unfinished one as it
// comes, later ones once it is their turn. Ends each with one line feed. Several have a heading each.
class TextPrinter {
 public:
  // `escape`: control characters must not reach a terminal. `out` outlives the printer.
  TextPrinter(std::ostream& out, int sample_count, bool escape);

  // Samples outside 0..sample_count - 1 are ignored.
  void Add(int sample, const std::string& text);
  void Finish(int sample);

 private:
  struct Sample {
    std::string held;
    bool finished = false;
  };

  void Advance();

  std::ostream& out_;
  const bool escape_;
  std::vector<Sample> samples_;
  size_t current_ = 0;
  bool headed_ = false;  // the current one's heading is printed
};

}  // namespace mtm::client

#endif  // MTM_CLIENT_COMMANDS_TEXT_PRINTER_H_
