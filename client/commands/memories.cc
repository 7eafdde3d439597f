// SPDX-License-Identifier: Apache-2.0
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/commands/commands.h"
#include "client/commands/json.h"
#include "client/commands/summary.h"
#include "client/render/format.h"
#include "client/render/table.h"
#include "client/render/text_width.h"

namespace mtm::client {
namespace {

std::string LocalTime(const google::protobuf::Timestamp& timestamp) {
  const absl::Time time = absl::FromUnixSeconds(timestamp.seconds());
  return absl::FormatTime("%Y-%m-%d %H:%M", time, absl::LocalTimeZone());
}

absl::Status List(Session& session) {
  const auto response = session.client().ListMemories(session.call_options());
  if (!response.ok()) return response.status();
  if (session.json) {
    session.PrintJson(*response);
    return absl::OkStatus();
  }
  std::vector<Row> rows;
  for (const v1::Memory& memory : response->memories()) {
    rows.push_back({memory.name(), FormatCount(memory.token_count()), LayersText(memory.layers()),
                    FormatBytes(memory.size_bytes()), LocalTime(memory.create_time()),
                    ShortDigest(memory.digest())});
  }
  if (rows.empty()) {
    session.Note("no memories yet: mtm remember NAME FILE makes one");
  } else {
    session.out() << RenderTable(
        {{"name"}, {"tokens", Align::kRight}, {"layers"}, {"size", Align::kRight}, {"created"}, {"digest"}},
        rows, session.out_width(), session.out_style());
  }
  for (const auto& damaged : response->damaged()) {
    session.err() << session.err_style().Red("damaged:") << " " << EscapeControl(damaged.name()) << ": "
                  << EscapeControl(damaged.reason()) << "\n";
  }
  return absl::OkStatus();
}

absl::Status Show(Session& session, const std::string& reference) {
  const auto memory = session.client().GetMemory(reference, session.call_options());
  if (!memory.ok()) return memory.status();
  if (session.json) {
    session.PrintJson(*memory);
    return absl::OkStatus();
  }
  session.out() << RenderFields(
      {{"name", memory->name()},
       {"digest", memory->digest()},
       {"tokens", FormatCount(memory->token_count())},
       {"layers", LayersText(memory->layers())},
       {"heads", absl::StrCat(memory->head_count(), " of ", memory->head_dim(), " numbers")},
       {"dropped", absl::StrCat(memory->dropped_token_count(), " of each window")},
       {"size", FormatBytes(memory->size_bytes())},
       {"created", LocalTime(memory->create_time())},
       {"model", memory->model_fingerprint()}},
      session.out_style());
  return absl::OkStatus();
}

// All of them, whatever becomes of one, as rm does.
absl::Status Delete(Session& session, const std::vector<std::string>& references) {
  nlohmann::ordered_json deleted = nlohmann::ordered_json::array();
  for (const std::string& reference : references) {
    const absl::Status status = session.client().DeleteMemory(reference, session.call_options());
    session.Report(status);
    if (session.env().stop.stop_requested()) break;
    if (!status.ok()) continue;
    deleted.push_back(reference);
    if (!session.json) session.out() << "deleted " << reference << "\n";
  }
  if (session.json) session.out() << ToDocument({{"deleted", deleted}});
  return absl::OkStatus();
}

}  // namespace

void AddMemoryCommands(CLI::App& app, Session& session) {
  CLI::App& memories = *app.add_subcommand("memories", "Lists the memories by name.");
  memories.footer(
      "Examples:\n"
      "  mtm memories\n"
      "  mtm memories --json | jq -r '.memories[].name'");
  memories.callback([&session] { session.run = List; });

  CLI::App& show = *app.add_subcommand("show", "Shows one memory in detail.");
  auto reference = std::make_shared<std::string>();
  show.add_option("NAME", *reference, "the memory, as NAME or NAME@DIGEST")->required()->type_name("");
  show.footer(
      "Examples:\n"
      "  mtm show cats\n"
      "  mtm show team/cats@0f3a9c21 --json");
  SetRun(show, session, reference, Show);

  CLI::App& remove =
      *app.add_subcommand("delete", "Deletes memories. Requests under way keep what they started with.");
  auto references = std::make_shared<std::vector<std::string>>();
  remove.add_option("NAME", *references, "the memories, each as NAME or NAME@DIGEST")
      ->required()
      ->type_name("");
  remove.footer(
      "All are tried; the exit code is that of the first one that failed.\n\n"
      "Examples:\n"
      "  mtm delete cats\n"
      "  mtm delete cats dogs@0f3a9c21");
  SetRun(remove, session, references, Delete);
}

}  // namespace mtm::client
