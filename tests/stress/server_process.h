// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_TESTS_STRESS_SERVER_PROCESS_H_
#define MTM_TESTS_STRESS_SERVER_PROCESS_H_

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace mtm {

// A mtm_server as a process of its own, in a folder that keeps its log and port file. Dies with its parent.
class ServerProcess {
 public:
  ServerProcess(std::string program, std::vector<std::string> arguments, std::filesystem::path folder)
      : program_(std::move(program)), arguments_(std::move(arguments)), folder_(std::move(folder)) {}
  ~ServerProcess();
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  void Start();
  // Waits until it listens; nothing where it did not come to that within `most`, or ended before.
  std::optional<int> WaitForPort(std::chrono::milliseconds most);
  // Sends the signal and waits for the end; the exit status as of wait(2).
  int End(int signal);
  // 0 where none runs.
  pid_t pid() const { return pid_; }

 private:
  const std::string program_;
  const std::vector<std::string> arguments_;
  const std::filesystem::path folder_;
  pid_t pid_ = 0;
};

}  // namespace mtm

#endif  // MTM_TESTS_STRESS_SERVER_PROCESS_H_
