// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_COMMANDS_PROGRESS_LINE_H_
#define MTM_CLIENT_COMMANDS_PROGRESS_LINE_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "client/client.h"
#include "client/commands/session.h"
#include "client/render/progress_bar.h"

namespace mtm::client {

// One line of standard error as long as it lives, redrawn ten times a second at most; nothing where that is
// no terminal.
class ProgressLine {
 public:
  ProgressLine(Session& session, const std::string& label, ProgressUnit unit = ProgressUnit::kTokens);
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void Update(int64_t done, int64_t total);
  ProgressCallback callback();  // of Update; the line outlives it

 private:
  bool shown() const { return session_.env().terminal.err; }

  Session& session_;
  const std::string label_;
  Progress progress_;
  std::optional<absl::Time> start_;
  absl::Time drawn_ = absl::InfinitePast();
};

}  // namespace mtm::client

#endif  // MTM_CLIENT_COMMANDS_PROGRESS_LINE_H_
