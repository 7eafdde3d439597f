// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_COMMANDS_COMMANDS_H_
#define MTM_CLIENT_COMMANDS_COMMANDS_H_

#include <memory>
#include <utility>

#include "CLI/CLI.hpp"
#include "client/commands/session.h"

namespace mtm::client {

// Each adds subcommands to `app`, which set `session.run` when they are chosen. Both outlive the parse.
void AddRememberCommand(CLI::App& app, Session& session);
void AddAppendCommand(CLI::App& app, Session& session);
void AddForgetCommand(CLI::App& app, Session& session);
void AddVersionCommands(CLI::App& app, Session& session);  // rollback, copy
void AddLabelCommand(CLI::App& app, Session& session);
void AddMemoryCommands(CLI::App& app, Session& session);  // memories, delete
void AddShowCommand(CLI::App& app, Session& session);
void AddCheckCommands(CLI::App& app, Session& session);     // load, unload, verify, reindex
void AddTransferCommands(CLI::App& app, Session& session);  // export, import
void AddWatchCommands(CLI::App& app, Session& session);     // watch, wait
void AddGenerateCommand(CLI::App& app, Session& session);
void AddCompareCommand(CLI::App& app, Session& session);
void AddTraceCommand(CLI::App& app, Session& session);
void AddScoreCommand(CLI::App& app, Session& session);
void AddTokenCommands(CLI::App& app, Session& session);  // tokenize, detokenize
void AddModelCommand(CLI::App& app, Session& session);
void AddTopCommand(CLI::App& app, Session& session);

// Makes `run(session, options)` what the subcommand does. `options` lives as long as the subcommand.
template <typename Options, typename Run>
void SetRun(CLI::App& command, Session& session, std::shared_ptr<Options> options, Run run) {
  command.callback([&session, options = std::move(options), run] {
    session.run = [options, run](Session& s) { return run(s, *options); };
  });
}

}  // namespace mtm::client

#endif  // MTM_CLIENT_COMMANDS_COMMANDS_H_
