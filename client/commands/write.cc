// SPDX-License-Identifier: Apache-2.0
#include "client/commands/write.h"

#include <filesystem>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/commands/input.h"
#include "client/commands/memory_text.h"
#include "client/commands/progress_line.h"
#include "client/options/lists.h"
#include "client/request_id.h"

namespace mtm::client {
namespace {

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

absl::StatusOr<std::unique_ptr<Input>> Open(Session& session, const std::string& file) {
  return file == "-" ? Input::FromDescriptor(session.env().in) : Input::Open(file);
}

std::string SourceOf(const TextOptions& texts, const std::string& file) {
  if (!texts.source.empty() || file == "-") return texts.source;
  return std::filesystem::path(file).filename().string();
}

}  // namespace

void RequestIdOption::AddTo(CLI::App& command) {
  request_id = NewRequestId();
  command
      .add_option("--request-id", request_id,
                  "a second write with the same id does nothing and answers with the\n"
                  "first one's result (default: a random UUID)")
      ->type_name("ID");
}

void WriteFlags::AddTo(CLI::App& command) {
  id.AddTo(command);
  command.add_flag("--detach", detach, "do not wait: mtm wait ID does");
}

void TextOptions::AddTo(CLI::App& command) {
  command.add_option("FILE", files, "UTF-8 texts of any length; - reads standard input")
      ->required()
      ->type_name("");
  command.add_option("--source", source, "label of the texts, to forget them by (default: each file's name)")
      ->type_name("LABEL");
  command.add_flag("--tokens", tokens, "FILE holds token ids, between spaces or commas");
}

absl::Status TextOptions::Check(const WriteFlags& flags) const {
  if (flags.detach && files.size() > 1) return absl::InvalidArgumentError("--detach goes with one FILE");
  // All before the first is sent: a misspelt one must not be found half-way.
  for (const std::string& file : files) {
    if (file == "-") continue;
    if (const auto input = Input::Open(file); !input.ok()) return input.status();
  }
  return absl::OkStatus();
}

absl::Status WriteTexts(Session& session, const std::string& label, const TextOptions& texts,
                        const WriteFlags& flags, const SendText& send) {
  if (absl::Status status = texts.Check(flags); !status.ok()) return status;
  const size_t count = texts.files.size();
  v1::WriteMemoryResponse last;
  for (size_t i = 0; i < count; ++i) {
    auto input = Open(session, texts.files[i]);
    if (!input.ok()) return input.status();
    const MemoryReader reader = texts.tokens ? TokenIdsOf(**input) : TextOf(**input);
    v1::WriteOptions options;
    options.set_detached(flags.detach);
    options.set_request_id(i == 0 ? flags.id.request_id : absl::StrCat(flags.id.request_id, ".", i + 1));
    auto event = Write(session, count == 1 ? label : absl::StrCat(label, " (", i + 1, " of ", count, ")"),
                       options.request_id(), [&](const ProgressCallback& progress) {
                         return send(i, options, SourceOf(texts, texts.files[i]), reader, progress);
                       });
    if (!event.ok()) {
      if (i > 0) session.Note(absl::StrCat("the first ", i, " of ", count, " texts are in ", label));
      return event.status();
    }
    last = *std::move(event);
  }
  PrintWrite(session, last);
  return absl::OkStatus();
}

absl::StatusOr<v1::WriteMemoryResponse> Write(
    Session& session, const std::string& label, const std::string& request_id,
    const std::function<absl::StatusOr<v1::WriteMemoryResponse>(const ProgressCallback&)>& write) {
  absl::StatusOr<v1::WriteMemoryResponse> event;
  {
    ProgressLine line(session, label);
    event = write(line.callback());
  }
  if (absl::IsUnavailable(event.status()) || absl::IsDeadlineExceeded(event.status())) {
    session.Note(absl::StrCat("mtm wait ", request_id, " tells what came of it"));
  }
  return event;
}

void PrintWrite(Session& session, const v1::WriteMemoryResponse& event) {
  if (event.has_memory()) {
    PrintMemory(session, event.memory());
  } else if (session.json) {
    session.PrintJson(event);
  } else {
    session.out() << "accepted; mtm wait " << event.accepted().request_id() << " waits for its end\n";
  }
}

void PrintMemory(Session& session, const v1::Memory& memory) {
  if (session.json) {
    session.PrintJson(memory);
  } else {
    session.out() << MemoryLine(memory) << "\n";
  }
}

}  // namespace mtm::client
