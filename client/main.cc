// SPDX-License-Identifier: Apache-2.0
#include <google/protobuf/stubs/logging.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "client/commands/app.h"
#include "client/interrupt.h"

namespace {

int TerminalWidth() {
  winsize size{};
  for (const int descriptor : {STDOUT_FILENO, STDERR_FILENO}) {
    if (ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  }
  return 80;
}

mtm::client::Terminal FindTerminal() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value ? value : "");
  };
  mtm::client::Terminal terminal;
  terminal.out = isatty(STDOUT_FILENO);
  terminal.err = isatty(STDERR_FILENO);
  terminal.colour = variable("NO_COLOR").empty() && variable("TERM") != "dumb";
  terminal.width = TerminalWidth();
  return terminal;
}

}  // namespace

int main(int argc, char** argv) {
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);  // its log lines would stand between ours
  google::protobuf::SetLogHandler(nullptr);
  std::ios::sync_with_stdio(false);
  const std::stop_token stop = mtm::client::StopOnInterrupt();
  return mtm::client::RunMtm({argv + 1, argv + argc},
                             {std::cout, std::cerr, STDIN_FILENO, FindTerminal(), stop});
}
