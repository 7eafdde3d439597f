// SPDX-License-Identifier: Apache-2.0
#include "tests/stress/server_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <thread>

namespace mtm {

ServerProcess::~ServerProcess() {
  if (pid_ > 0) End(SIGKILL);
}

void ServerProcess::Start() {
  const std::filesystem::path port_file = folder_ / "port", log_file = folder_ / "server.log";
  std::filesystem::remove(port_file);
  std::vector<std::string> words = {program_,      "serve",       "--listen",
                                    "127.0.0.1:0", "--port-file", port_file.string()};
  words.insert(words.end(), arguments_.begin(), arguments_.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const std::string log = log_file.string();
  pid_ = fork();
  if (pid_ < 0) std::abort();
  if (pid_ > 0) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const int fd = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  dup2(fd, STDOUT_FILENO);
  dup2(fd, STDERR_FILENO);
  execv(program_.c_str(), argv.data());
  _exit(127);
}

std::optional<int> ServerProcess::WaitForPort(std::chrono::milliseconds most) {
  const auto deadline = std::chrono::steady_clock::now() + most;
  while (std::chrono::steady_clock::now() < deadline) {
    std::ifstream stream(folder_ / "port");
    if (int port = 0; stream >> port) return port;
    if (waitpid(pid_, nullptr, WNOHANG) == pid_) {
      pid_ = 0;
      return std::nullopt;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return std::nullopt;
}

int ServerProcess::End(int signal) {
  int status = 0;
  if (pid_ <= 0) return status;
  kill(pid_, signal);
  waitpid(pid_, &status, 0);
  pid_ = 0;
  return status;
}

}  // namespace mtm
