// SPDX-License-Identifier: Apache-2.0
#include "server/commands/signals.h"

#include <pthread.h>
#include <signal.h>

#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <thread>

namespace mtm {

struct Signals::State {
  // A second SIGINT ends the process at once. A second SIGTERM changes nothing: supervisors send it twice.
  void Take(const sigset_t& set) {
    for (int signal = 0; sigwait(&set, &signal) == 0;) {
      const std::lock_guard lock(mutex);
      if (signal == SIGHUP) {
        hangup = true;
      } else if (!serving || (number != 0 && signal == SIGINT)) {
        std::_Exit(128 + signal);
      } else if (number == 0) {
        number = signal;
      }
      changed.notify_one();
    }
  }

  std::mutex mutex;  // guards what follows
  std::condition_variable changed;
  bool serving = false;
  bool hangup = false;
  int number = 0;
};

Signals::Signals(bool with_hangup) : state_(std::make_shared<State>()) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  if (with_hangup) sigaddset(&set, SIGHUP);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  std::thread([state = state_, set] { state->Take(set); }).detach();
}

void Signals::Serving() {
  const std::lock_guard lock(state_->mutex);
  state_->serving = true;
}

const char* Signals::Wait(const std::function<void()>& on_hangup) {
  std::unique_lock lock(state_->mutex);
  for (;;) {
    state_->changed.wait(lock, [this] { return state_->number != 0 || state_->hangup; });
    if (state_->number != 0) break;
    state_->hangup = false;
    lock.unlock();
    on_hangup();
    lock.lock();
  }
  return state_->number == SIGTERM ? "SIGTERM" : "SIGINT";
}

}  // namespace mtm
