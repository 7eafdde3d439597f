// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_COMMANDS_SIGNALS_H_
#define MTM_SERVER_COMMANDS_SIGNALS_H_

#include <functional>
#include <memory>

namespace mtm {

// SIGTERM and SIGINT, taken by a thread of their own; threads started later have them blocked. Until Serving
// is called they end the process at once, since loading can take long and leaves nothing half-done. SIGHUP
// too, if it means something: it ends a process that nobody taught better.
class Signals {
 public:
  explicit Signals(bool with_hangup);

  // From now on there is something to end in order.
  void Serving();

  // Until the process is to stop, by the signal that is returned; calls `on_hangup` meanwhile, for hangups
  // before too.
  const char* Wait(const std::function<void()>& on_hangup);

 private:
  struct State;
  const std::shared_ptr<State> state_;
};

}  // namespace mtm

#endif  // MTM_SERVER_COMMANDS_SIGNALS_H_
