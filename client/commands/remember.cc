// SPDX-License-Identifier: Apache-2.0
#include <optional>

#include "absl/strings/str_cat.h"
#include "client/commands/commands.h"
#include "client/commands/write.h"
#include "client/options/annotations.h"
#include "client/options/lists.h"

namespace mtm::client {
namespace {

struct Options {
  std::string name;
  TextOptions texts;
  std::string layers;
  std::optional<int32_t> drop;
  bool no_newline = false;
  std::string dtype;
  AnnotationOptions annotations;
  bool replace = false;
  WriteFlags write;
};

absl::StatusOr<v1::CreateMemoryRequest::Spec> MakeSpec(const Options& options) {
  v1::CreateMemoryRequest::Spec spec;
  spec.set_name(options.name);
  if (!options.layers.empty()) {
    const auto layers = ParseLayers(options.layers);
    if (!layers.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("--layers: ", std::string(layers.status().message())));
    }
    spec.mutable_layers()->Assign(layers->begin(), layers->end());
  }
  if (options.drop) spec.set_dropped_token_count(*options.drop);
  if (options.no_newline) spec.set_leading_newline(false);
  if (options.dtype == "f16") spec.set_data_type(v1::DATA_TYPE_F16);
  if (options.dtype == "f32") spec.set_data_type(v1::DATA_TYPE_F32);
  if (absl::Status status = options.annotations.Fill(spec); !status.ok()) return status;
  return spec;
}

absl::Status Remember(Session& session, const Options& options) {
  const auto spec = MakeSpec(options);
  if (!spec.ok()) return spec.status();
  const absl::Status status = WriteTexts(
      session, options.name, options.texts, options.write,
      [&](size_t number, const v1::WriteOptions& write, const std::string& source, const MemoryReader& reader,
          const ProgressCallback& progress) {
        Client& client = session.client();
        if (number > 0) {
          v1::AppendToMemoryRequest::Spec further;
          further.set_name(options.name);
          further.set_source(source);
          *further.mutable_options() = write;
          return client.AppendToMemory(further, reader, progress, session.call_options());
        }
        v1::CreateMemoryRequest::Spec first = *spec;
        first.set_source(source);
        *first.mutable_options() = write;
        return options.replace ? client.ReplaceMemory(first, reader, progress, session.call_options())
                               : client.CreateMemory(first, reader, progress, session.call_options());
      });
  if (absl::IsAlreadyExists(status))
    session.Note("--replace puts new content in its place, mtm append adds to it");
  return status;
}

void AddSpecOptions(CLI::App& command, Options& options) {
  command.add_option("--layers", options.layers, "layers to keep, from 1, as 7-9 or 7,8,9 (default: all)")
      ->type_name("LIST");
  command
      .add_option("--drop", options.drop,
                  "leading tokens that each window runs and does not store (default 1)")
      ->type_name("N");
  command.add_flag("--no-newline", options.no_newline,
                   "no newline token before the text; then none is dropped");
  command
      .add_option("--dtype", options.dtype, "how numbers are stored: f32 (default), or f16 in half the room")
      ->check(CLI::Validator(
          [](std::string& text) { return text == "f32" || text == "f16" ? "" : "must be f32 or f16"; }, ""))
      ->type_name("TYPE");
}

}  // namespace

void AddRememberCommand(CLI::App& app, Session& session) {
  CLI::App& command = *app.add_subcommand("remember", "Makes a named memory out of texts.");
  auto options = std::make_shared<Options>();
  command.add_option("NAME", options->name, "one to four parts as team/cats, of a-z 0-9 . _ -")
      ->required()
      ->type_name("");
  options->texts.AddTo(command);
  AddSpecOptions(command, *options);
  options->annotations.AddTo(command);
  command.add_flag("--replace", options->replace,
                   "NAME exists: put this in place of its content, as a new version");
  options->write.AddTo(command);
  command.footer(
      "Nothing is listed until the memory is whole; one that is interrupted leaves nothing. Of several FILEs "
      "the\n"
      "first makes the memory and the others are appended to it, one after the other.\n\n"
      "Examples:\n"
      "  mtm remember cats cats.txt\n"
      "  mtm remember team/notes notes/*.txt --dtype f16 --label topic=notes --metadata '{\"year\": 2026}'\n"
      "  curl -s https://example.org/notes.txt | mtm remember team/notes - --layers 7-9 --replace\n"
      "  mtm tokenize - < cats.txt | mtm remember cats-ids - --tokens --drop 0");
  SetRun(command, session, options, Remember);
}

}  // namespace mtm::client
