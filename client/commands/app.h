// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_COMMANDS_APP_H_
#define MTM_CLIENT_COMMANDS_APP_H_

#include <string>
#include <vector>

#include "client/commands/session.h"

namespace mtm::client {

// The `mtm` command: reads `arguments` (without the program's name), does what they say, returns the exit
// code.
int RunMtm(const std::vector<std::string>& arguments, const Environment& env);

}  // namespace mtm::client

#endif  // MTM_CLIENT_COMMANDS_APP_H_
