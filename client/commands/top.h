// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_COMMANDS_TOP_H_
#define MTM_CLIENT_COMMANDS_TOP_H_

#include "CLI/CLI.hpp"
#include "client/commands/session.h"

namespace mtm::client {

// As those of commands.h.
void AddTopCommand(CLI::App& app, Session& session);

}  // namespace mtm::client

#endif  // MTM_CLIENT_COMMANDS_TOP_H_
