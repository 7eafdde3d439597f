// SPDX-License-Identifier: Apache-2.0
#include "client/commands/progress_line.h"

#include "absl/time/clock.h"

namespace mtm::client {

ProgressLine::ProgressLine(Session& session, const std::string& label, ProgressUnit unit)
    : session_(session), label_(label) {
  progress_.unit = unit;
  if (shown()) session_.err() << label_ << "  …" << std::flush;
}

ProgressLine::~ProgressLine() {
  if (shown()) session_.err() << kEraseLine << std::flush;
}

void ProgressLine::Update(int64_t done, int64_t total) {
  if (!shown()) return;
  const absl::Time now = absl::Now();
  // The clock starts with the work: others may have had their turn before. A further attempt begins anew.
  if (!start_ || done == 0 || done < progress_.done) {
    start_ = now;
    progress_.first = done;
  }
  progress_.done = done;
  progress_.total = total;
  progress_.elapsed = now - *start_;
  if (done < total && now - drawn_ < absl::Milliseconds(100)) return;
  drawn_ = now;
  session_.err() << "\r" << RenderProgress(label_, progress_, session_.env().terminal.width - 1) << "\x1b[K"
                 << std::flush;
}

ProgressCallback ProgressLine::callback() {
  return [this](int64_t done, int64_t total) { Update(done, total); };
}

}  // namespace mtm::client
