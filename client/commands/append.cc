// SPDX-License-Identifier: Apache-2.0
#include "absl/strings/str_cat.h"
#include "client/commands/commands.h"
#include "client/commands/write.h"

namespace mtm::client {
namespace {

struct Options {
  std::string reference;
  TextOptions texts;
  WriteFlags write;
};

absl::Status Append(Session& session, const Options& options) {
  const std::string name = options.reference.substr(0, options.reference.find('@'));
  std::string reference = options.reference;
  return WriteTexts(session, name, options.texts, options.write,
                    [&](size_t, const v1::WriteOptions& write, const std::string& source,
                        const MemoryReader& reader, const ProgressCallback& progress) {
                      v1::AppendToMemoryRequest::Spec spec;
                      spec.set_name(reference);
                      spec.set_source(source);
                      *spec.mutable_options() = write;
                      auto event =
                          session.client().AppendToMemory(spec, reader, progress, session.call_options());
                      // Who says which version is meant means the next text to follow this one.
                      if (event.ok() && reference != name) {
                        reference = absl::StrCat(name, "@", event->memory().digest());
                      }
                      return event;
                    });
}

}  // namespace

void AddAppendCommand(CLI::App& app, Session& session) {
  CLI::App& command = *app.add_subcommand("append", "Adds texts to a memory, as a new version.");
  auto options = std::make_shared<Options>();
  command.add_option("NAME", options->reference, "the memory; as NAME@DIGEST it must still be that version")
      ->required()
      ->type_name("");
  options->texts.AddTo(command);
  options->write.AddTo(command);
  command.footer(
      "Only what is added is run through the model, with the memory's own layers, leading tokens and "
      "type.\n\n"
      "Examples:\n"
      "  mtm append cats more.txt\n"
      "  mtm append team/notes monday.txt tuesday.txt\n"
      "  journalctl -b | mtm append logs - --source \"boot $(date -I)\" --request-id \"logs-$(date -I)\"");
  SetRun(command, session, options, Append);
}

}  // namespace mtm::client
