// SPDX-License-Identifier: Apache-2.0
#include "client/interrupt.h"

#include <pthread.h>

#include <csignal>
#include <thread>

namespace mtm::client {

std::stop_token StopOnInterrupt() {
  sigset_t interrupt;
  sigemptyset(&interrupt);
  sigaddset(&interrupt, SIGINT);
  // Inherited by every later thread: only the one below takes the signal, outside of a handler's limits.
  pthread_sigmask(SIG_BLOCK, &interrupt, nullptr);

  static auto& source = *new std::stop_source;  // outlives main, as the thread does
  std::thread([interrupt] {
    int signal = 0;
    sigwait(&interrupt, &signal);
    // From here on the default action, in this thread: the second one kills.
    pthread_sigmask(SIG_UNBLOCK, &interrupt, nullptr);
    source.request_stop();
    while (true) std::this_thread::sleep_for(std::chrono::hours(1));
  }).detach();
  return source.get_token();
}

}  // namespace mtm::client
