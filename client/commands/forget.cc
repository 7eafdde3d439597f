// SPDX-License-Identifier: Apache-2.0
#include <optional>

#include "client/commands/commands.h"
#include "client/commands/write.h"
#include "client/options/lists.h"

namespace mtm::client {
namespace {

struct Options {
  std::string reference;
  std::string tokens;
  std::string text;
  std::optional<std::string> source;  // may be empty: the texts without a label
  bool purge = false;
  WriteFlags write;
};

absl::StatusOr<v1::ForgetFromMemoryRequest> MakeRequest(const Options& options) {
  if (!options.tokens.empty() + !options.text.empty() + options.source.has_value() != 1) {
    return absl::InvalidArgumentError("one of --source, --text and --tokens says what to forget");
  }
  v1::ForgetFromMemoryRequest request;
  request.set_name(options.reference);
  if (!options.text.empty()) request.set_text(options.text);
  if (options.source) request.set_source(*options.source);
  if (!options.tokens.empty()) {
    const auto range = ParseTokenRange(options.tokens);
    if (!range.ok()) return range.status();
    request.mutable_tokens()->set_first(range->first);
    request.mutable_tokens()->set_count(range->count);
  }
  request.set_purge_older_versions(options.purge);
  request.mutable_options()->set_request_id(options.write.id.request_id);
  request.mutable_options()->set_detached(options.write.detach);
  return request;
}

absl::Status Forget(Session& session, Options options) {
  auto text = ReadArgument(session, options.text);
  if (!text.ok()) return text.status();
  options.text = *std::move(text);
  const auto request = MakeRequest(options);
  if (!request.ok()) return request.status();
  const auto event =
      Write(session, options.reference, options.write.id.request_id, [&](const ProgressCallback& progress) {
        return session.client().ForgetFromMemory(*request, progress, session.call_options());
      });
  if (!event.ok()) return event.status();
  PrintWrite(session, *event);
  return absl::OkStatus();
}

}  // namespace

void AddForgetCommand(CLI::App& app, Session& session) {
  CLI::App& command = *app.add_subcommand("forget", "Takes content out of a memory, as a new version.");
  auto options = std::make_shared<Options>();
  command.add_option("NAME", options->reference, "the memory; as NAME@DIGEST it must still be that version")
      ->required()
      ->type_name("");
  command.add_option("--source", options->source, "all texts with this label; \"\": those without one")
      ->type_name("LABEL");
  command.add_option("--text", options->text, "every occurrence of this text; - reads standard input")
      ->type_name("TEXT");
  command.add_option("--tokens", options->tokens, "this range of the memory's tokens, from 0")
      ->type_name("FIRST:COUNT");
  command.add_flag("--purge", options->purge, "remove the older versions too, which hold it still");
  options->write.AddTo(command);
  command.footer(
      "Each window that is touched is run again without it: later keys have attended to it. Older versions "
      "keep\n"
      "it, until --purge or newer ones push them out; other names of the same content keep it in any "
      "case.\n\n"
      "Examples:\n"
      "  mtm forget cats --source more.txt\n"
      "  mtm forget team/notes --text \"My number is 555-0100.\" --purge\n"
      "  mtm show cats && mtm forget cats --tokens 100:20");
  SetRun(command, session, options, Forget);
}

}  // namespace mtm::client
