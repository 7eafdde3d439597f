// SPDX-License-Identifier: Apache-2.0
#include "client/commands/text_printer.h"

#include "client/render/text_width.h"

namespace mtm::client {

TextPrinter::TextPrinter(std::ostream& out, int sample_count, bool escape)
    : out_(out), escape_(escape), samples_(static_cast<size_t>(sample_count)) {}

void TextPrinter::Add(int sample, const std::string& text) {
  if (sample < 0 || static_cast<size_t>(sample) >= samples_.size()) return;
  samples_[static_cast<size_t>(sample)].held += text;
  Advance();
}

void TextPrinter::Finish(int sample) {
  if (sample < 0 || static_cast<size_t>(sample) >= samples_.size()) return;
  samples_[static_cast<size_t>(sample)].finished = true;
  Advance();
}

void TextPrinter::Advance() {
  for (; current_ < samples_.size(); ++current_, headed_ = false) {
    Sample& sample = samples_[current_];
    if (samples_.size() > 1 && !headed_) {
      out_ << "== sample " << current_ + 1 << " of " << samples_.size() << " ==\n";
      headed_ = true;
    }
    out_ << (escape_ ? EscapeControlKeepingLines(sample.held) : sample.held) << std::flush;
    sample.held.clear();
    if (!sample.finished) return;
    out_ << "\n" << std::flush;
  }
}

}  // namespace mtm::client
