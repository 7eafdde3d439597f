// SPDX-License-Identifier: Apache-2.0
#include "client/commands/session.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/commands/exit_code.h"
#include "client/commands/input.h"
#include "client/commands/json.h"
#include "client/render/format.h"
#include "client/status.h"

namespace mtm::client {
namespace {

// What gRPC says where it sends plain text to a port with TLS; over TLS it speaks of a handshake.
bool MayWantTls(const absl::Status& status) {
  return absl::IsUnavailable(status) && absl::StrContains(status.message(), "failed to connect") &&
         absl::StrContains(status.message(), "Socket closed");
}

}  // namespace

absl::Status Session::Connect() {
  const auto how = connection.Options();
  if (!how.ok()) return how.status();
  auto credentials = MakeCredentials(*how);
  if (!credentials.ok()) return credentials.status();
  ClientOptions options;
  options.address = how->address;
  options.credentials = *std::move(credentials);
  options.on_retry = [this](const absl::Status&, absl::Duration wait) {
    if (env_.terminal.err && !json) err() << kEraseLine;  // progress may stand there
    Note(absl::StrCat(connection.server, " is unavailable, trying again in ", FormatElapsed(wait)));
  };
  client_.emplace(options);
  return absl::OkStatus();
}

CallOptions Session::call_options() const {
  CallOptions options;
  if (timeout_seconds > 0) options.timeout = absl::Seconds(timeout_seconds);
  options.stop = env_.stop;
  return options;
}

void Session::PrintJson(const google::protobuf::Message& message) { out() << ToDocument(ToJson(message)); }

void Session::Note(const std::string& line) {
  if (json) return;
  err() << err_style().Dim(line) << "\n";
}

void Session::Report(const absl::Status& status) {
  if (status.ok()) return;
  const bool interrupted = env_.stop.stop_requested();
  if (exit_code_ == 0) exit_code_ = interrupted ? kInterruptedExitCode : ExitCode(status.code());
  out().flush();
  if (json) {
    err() << ToLine(ErrorToJson(interrupted ? absl::CancelledError("interrupted") : status));
  } else if (interrupted) {
    if (env_.terminal.err) err() << "\n";  // after the terminal's ^C
  } else {
    err() << err_style().Red("mtm:") << " " << StatusText(status) << "\n";
    if (MayWantTls(status)) Note("a server with TLS wants --tls or --tls-ca FILE");
  }
  err().flush();
}

absl::StatusOr<std::string> ReadArgument(Session& session, const std::string& text) {
  if (text != "-") return text;
  return Input::FromDescriptor(session.env().in)->ReadAll(session.env().stop);
}

absl::StatusOr<std::string> ReadPrompt(Session& session, const std::string& text) {
  auto prompt = ReadArgument(session, text);
  if (prompt.ok() && text == "-" && prompt->ends_with('\n')) prompt->pop_back();
  return prompt;
}

}  // namespace mtm::client
