// SPDX-License-Identifier: Apache-2.0
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/commands/commands.h"
#include "client/commands/input.h"
#include "client/commands/summary.h"
#include "client/options/lists.h"
#include "client/render/format.h"
#include "client/render/progress_bar.h"

namespace mtm::client {
namespace {

struct Options {
  std::string name;
  std::string file;
  std::string layers;
  std::optional<int32_t> drop;
  bool no_newline = false;
  bool tokens = false;
};

// Redraws one line of standard error, ten times a second at most; nothing where that is no terminal.
class ProgressLine {
 public:
  ProgressLine(Session& session, const std::string& label) : session_(session), label_(label) {
    if (shown()) session_.err() << label_ << "  …" << std::flush;
  }
  ~ProgressLine() {
    if (shown()) session_.err() << "\r\x1b[K" << std::flush;
  }

  void Update(const v1::CreateMemoryResponse::Progress& progress) {
    if (!shown()) return;
    const absl::Time now = absl::Now();
    // The clock starts with the work: others may have had their turn before.
    if (!start_ || progress.tokens_done() == 0) start_ = now;
    const bool last = progress.tokens_done() >= progress.tokens_total();
    if (!last && now - drawn_ < absl::Milliseconds(100)) return;
    drawn_ = now;
    session_.err() << "\r"
                   << RenderProgress(label_, progress.tokens_done(), progress.tokens_total(), now - *start_,
                                     session_.env().terminal.width - 1)
                   << "\x1b[K" << std::flush;
  }

 private:
  bool shown() const { return session_.env().terminal.err; }

  Session& session_;
  const std::string label_;
  std::optional<absl::Time> start_;
  absl::Time drawn_ = absl::InfinitePast();
};

MemoryReader TextOf(Input& input) {
  return [&input](std::stop_token stop) -> absl::StatusOr<std::optional<MemoryPart>> {
    auto chunk = input.Next(stop);
    if (!chunk.ok()) return chunk.status();
    if (chunk->empty()) return std::nullopt;
    return MemoryPart(*std::move(chunk));
  };
}

MemoryReader TokenIdsOf(Input& input) {
  return [&input, parser = TokenIdParser()](
             std::stop_token stop) mutable -> absl::StatusOr<std::optional<MemoryPart>> {
    while (true) {
      const auto chunk = input.Next(stop);
      if (!chunk.ok()) return chunk.status();
      auto ids = chunk->empty() ? parser.Finish() : parser.Add(*chunk);
      if (!ids.ok()) return ids.status();
      if (!ids->empty()) return MemoryPart(*std::move(ids));
      if (chunk->empty()) return std::nullopt;
    }
  };
}

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
  return spec;
}

absl::Status Remember(Session& session, const Options& options) {
  const auto spec = MakeSpec(options);
  if (!spec.ok()) return spec.status();
  auto input = options.file == "-" ? Input::FromDescriptor(session.env().in) : Input::Open(options.file);
  if (!input.ok()) return input.status();

  absl::StatusOr<v1::Memory> memory;
  {
    ProgressLine line(session, options.name);
    memory = session.client().Remember(
        *spec, options.tokens ? TokenIdsOf(**input) : TextOf(**input),
        [&](const v1::CreateMemoryResponse::Progress& progress) { line.Update(progress); },
        session.call_options());
  }
  if (!memory.ok()) return memory.status();
  if (session.json) {
    session.PrintJson(*memory);
  } else {
    session.out() << memory->name() << ": " << FormatCounted(memory->token_count(), "token") << ", layers "
                  << LayersText(memory->layers()) << ", " << FormatBytes(memory->size_bytes()) << ", digest "
                  << ShortDigest(memory->digest()) << "\n";
  }
  return absl::OkStatus();
}

}  // namespace

void AddRememberCommand(CLI::App& app, Session& session) {
  CLI::App& command = *app.add_subcommand("remember", "Makes a named memory out of a text.");
  auto options = std::make_shared<Options>();
  command.add_option("NAME", options->name, "one to four parts as team/cats, of a-z 0-9 . _ -")
      ->required()
      ->type_name("");
  command.add_option("FILE", options->file, "UTF-8 text of any length; - reads standard input")
      ->required()
      ->type_name("");
  command.add_option("--layers", options->layers, "layers to keep, from 1, as 7-9 or 7,8,9 (default: all)")
      ->type_name("LIST");
  command
      .add_option("--drop", options->drop,
                  "leading tokens that each window runs and does not store (default 1)")
      ->type_name("N");
  command.add_flag("--no-newline", options->no_newline,
                   "no newline token before the text; then none is dropped");
  command.add_flag("--tokens", options->tokens, "FILE holds token ids, between spaces or commas");
  command.footer(
      "Nothing is listed until the memory is whole; one that is interrupted leaves nothing.\n\n"
      "Examples:\n"
      "  mtm remember cats cats.txt\n"
      "  curl -s https://example.org/notes.txt | mtm remember team/notes - --layers 7-9\n"
      "  mtm tokenize - < cats.txt | mtm remember cats-ids - --tokens --drop 0");
  SetRun(command, session, options, Remember);
}

}  // namespace mtm::client
