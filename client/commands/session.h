// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_COMMANDS_SESSION_H_
#define MTM_CLIENT_COMMANDS_SESSION_H_

#include <functional>
#include <optional>
#include <ostream>
#include <stop_token>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "client/client.h"
#include "client/commands/connection_flags.h"
#include "client/render/style.h"
#include "google/protobuf/message.h"

namespace mtm::client {

// Takes a line of progress off a terminal.
inline constexpr char kEraseLine[] = "\r\x1b[K";

// What the streams are attached to.
struct Terminal {
  bool out = false;
  bool err = false;
  bool colour = false;  // wanted, where a stream is a terminal
  int width = 80;       // columns
};

// The world outside: given by main, made up by tests.
struct Environment {
  std::ostream& out;
  std::ostream& err;
  int in = 0;  // file descriptor
  Terminal terminal;
  std::stop_token stop;  // the user interrupted
};

// One run of `mtm`: the global options, the connection, and what commands print through.
class Session {
 public:
  explicit Session(Environment env) : env_(std::move(env)) {}

  // Global options, bound to the command line.
  ConnectionFlags connection;
  double timeout_seconds = 0;  // 0: none
  bool json = false;
  bool verbose = false;

  // What the command line asked for.
  std::function<absl::Status(Session&)> run;

  const Environment& env() const { return env_; }
  std::ostream& out() { return env_.out; }
  std::ostream& err() { return env_.err; }
  Style out_style() const { return {env_.terminal.out && env_.terminal.colour}; }
  Style err_style() const { return {env_.terminal.err && env_.terminal.colour}; }
  // A table's limit: the terminal's columns, or 0, none.
  int out_width() const { return env_.terminal.out ? env_.terminal.width : 0; }

  // Makes the client, once the command line is read. INVALID_ARGUMENT: what is said of the connection is
  // wrong.
  absl::Status Connect();
  Client& client() { return *client_; }  // after Connect
  CallOptions call_options() const;

  void PrintJson(const google::protobuf::Message& message);

  // A line on standard error for somebody who looks on; not under --json.
  void Note(const std::string& line);

  // Prints an error and makes its exit code the program's, unless there was one before. OK is nothing.
  void Report(const absl::Status& status);
  int exit_code() const { return exit_code_; }

 private:
  Environment env_;
  std::optional<Client> client_;
  int exit_code_ = 0;
};

// `text`, or where it is "-" what standard input holds.
absl::StatusOr<std::string> ReadArgument(Session& session, const std::string& text);

// ReadArgument for prompts: less one final line feed, which echo and editors add and which changes what
// follows.
absl::StatusOr<std::string> ReadPrompt(Session& session, const std::string& text);

}  // namespace mtm::client

#endif  // MTM_CLIENT_COMMANDS_SESSION_H_
