// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_COMMANDS_SUPERVISOR_H_
#define MTM_SERVER_COMMANDS_SUPERVISOR_H_

#include <string_view>

namespace mtm {

// Tells the supervisor that gave us a $NOTIFY_SOCKET, as systemd does, about a state: `READY=1`, `STOPPING=1`
// (sd_notify(3)). Without one, nothing. What goes wrong is logged.
void NotifySupervisor(std::string_view state);

}  // namespace mtm

#endif  // MTM_SERVER_COMMANDS_SUPERVISOR_H_
