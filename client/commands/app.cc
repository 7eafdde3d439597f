// SPDX-License-Identifier: Apache-2.0
#include "client/commands/app.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "client/commands/commands.h"

namespace mtm::client {
namespace {

constexpr char kHelp[] = R"(mtm: GPT-2 with a persistent memory.  Usage: mtm [OPTIONS] COMMAND [ARGUMENTS]

  generate, compare PROMPT   continue a prompt; with and without a memory
  score PROMPT TEXT          log-probabilities; trace PROMPT: what was looked up
  tokenize, detokenize       text to token ids and back; model: what is served
  remember NAME FILE...      make a memory out of texts, or --replace one
  append NAME FILE...        add texts to it; forget NAME: take content out
  rollback NAME DIGEST       back to an older version; copy NAME NEW
  memories, show NAME        list them, one in detail; watch: every change
  label NAME KEY=VALUE...    labels and metadata; delete NAME...
  load, unload NAME...       before it is used; verify, reindex NAME...
  export, import NAME FILE   to a file, from a file; wait ID: for a --detach
  top                        what the server does, live

  --server ADDR      host:port ($MTM_SERVER; default 127.0.0.1:50051)
  --tls              trust the system's CAs; --tls-ca FILE: those in it
  --tls-cert FILE    show this certificate, --tls-key FILE is its key
  --token-file FILE  show the token in it; else the one in $MTM_TOKEN
  --timeout SECONDS  give up after so long; --json: print JSON, errors too
  -v, --verbose      say more; --version; mtm COMMAND --help: its options

Exit codes: 0 ok, 1 other error, 2 usage or INVALID_ARGUMENT, 3 NOT_FOUND,
4 ALREADY_EXISTS, 5 FAILED_PRECONDITION, 6 UNAVAILABLE or DEADLINE_EXCEEDED,
7 RESOURCE_EXHAUSTED, 8 DATA_LOSS, 9 token or right missing, 130 interrupted.
)";

// Every command takes the global options too, before or after its name.
void AddGlobalOptions(CLI::App& app, Session& session) {
  session.connection.AddTo(app);
  app.add_flag("--json", session.json);
  app.add_option("--timeout", session.timeout_seconds)
      ->check(CLI::Validator(
          [](std::string& text) {
            double seconds = 0;
            return CLI::detail::lexical_cast(text, seconds) && seconds > 0 ? "" : "must be a number above 0";
          },
          ""));
  app.add_flag("-v,--verbose", session.verbose);
  app.set_version_flag("--version", std::string("mtm ") + MTM_VERSION);
  app.fallthrough();
  // At most one: a later word that equals a command's name is an argument. None is told from a misspelt one
  // below.
  app.require_subcommand(0, 1);
}

// Wide enough for the options' names, without a line for the group of the plain ones.
void StyleHelp(CLI::App& app) {
  app.get_formatter()->column_width(24);
  app.get_formatter()->label("SUBCOMMAND", "COMMAND");
}

absl::Status UsageError(const CLI::App& app, const CLI::ParseError& error) {
  std::string command = "mtm";
  for (const CLI::App* chosen : app.get_subcommands()) absl::StrAppend(&command, " ", chosen->get_name());
  const bool no_command = app.get_subcommands().empty() && !app.remaining().empty();
  const std::string what = no_command ? absl::StrCat("there is no command ", app.remaining().front())
                                      : absl::StrReplaceAll(error.what(), {{"\n", " "}});
  return absl::InvalidArgumentError(
      absl::StrCat(std::string(absl::StripAsciiWhitespace(what)), " (see ", command, " --help)"));
}

}  // namespace

int RunMtm(const std::vector<std::string>& arguments, const Environment& env) {
  Session session(env);
  CLI::App app("", "mtm");
  StyleHelp(app);
  AddGlobalOptions(app, session);
  AddRememberCommand(app, session);
  AddAppendCommand(app, session);
  AddForgetCommand(app, session);
  AddVersionCommands(app, session);
  AddLabelCommand(app, session);
  AddMemoryCommands(app, session);
  AddShowCommand(app, session);
  AddCheckCommands(app, session);
  AddTransferCommands(app, session);
  AddWatchCommands(app, session);
  AddGenerateCommand(app, session);
  AddCompareCommand(app, session);
  AddTraceCommand(app, session);
  AddScoreCommand(app, session);
  AddTokenCommands(app, session);
  AddModelCommand(app, session);
  AddTopCommand(app, session);
  // After the commands, which would inherit it.
  app.formatter_fn([](const CLI::App*, std::string, CLI::AppFormatMode) { return std::string(kHelp); });

  try {
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());  // as CLI11 wants them
    app.parse(std::move(reversed));
  } catch (const CLI::Success& success) {  // --help, --version
    return app.exit(success, session.out(), session.err());
  } catch (const CLI::ParseError& error) {
    // Parsing ended before it came to set it, perhaps.
    session.json = std::find(arguments.begin(), arguments.end(), "--json") != arguments.end();
    session.Report(UsageError(app, error));
    return session.exit_code();
  }
  if (!session.run)
    session.run = [](Session&) { return absl::InvalidArgumentError("no command (see mtm --help)"); };
  absl::Status status = session.Connect();
  if (status.ok()) status = session.run(session);
  session.Report(status);
  if (!session.out().flush().good()) session.Report(absl::UnknownError("cannot write to standard output"));
  return session.exit_code();
}

}  // namespace mtm::client
