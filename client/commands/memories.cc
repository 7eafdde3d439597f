// SPDX-License-Identifier: Apache-2.0
// memories and delete.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "client/commands/commands.h"
#include "client/commands/json.h"
#include "client/commands/memory_text.h"
#include "client/commands/summary.h"
#include "client/options/memory_filter.h"
#include "client/render/format.h"
#include "client/render/table.h"
#include "client/render/text_width.h"

namespace mtm::client {
namespace {

std::string MemoryTable(const std::vector<v1::Memory>& memories, int width, const Style& style) {
  std::vector<Column> columns = {
      {"name"},  {"tokens", Align::kRight}, {"layers"}, {"size", Align::kRight}, {"state"}, {"created"},
      {"digest"}};
  const bool any_labels = std::any_of(memories.begin(), memories.end(),
                                      [](const v1::Memory& memory) { return !memory.labels().empty(); });
  if (any_labels) columns.push_back({"labels"});
  std::vector<Row> rows;
  for (const v1::Memory& memory : memories) {
    rows.push_back({memory.name(), FormatCount(memory.token_count()), LayersText(memory.layers()),
                    FormatBytes(memory.size_bytes()), StateText(memory.state()),
                    LocalTime(memory.create_time()), ShortDigest(memory.digest())});
    if (any_labels) rows.back().push_back(LabelsText(memory));
  }
  return RenderTable(columns, rows, width, style);
}

absl::Status List(Session& session, const FilterOptions& options) {
  const auto filter = options.Filter();
  if (!filter.ok()) return filter.status();
  auto memories = session.client().ListMemories(*filter, session.call_options());
  if (!memories.ok()) return memories.status();
  if (session.json) {
    v1::ListMemoriesResponse all;
    all.mutable_memories()->Add(memories->begin(), memories->end());
    session.PrintJson(all);
    return absl::OkStatus();
  }
  if (memories->empty()) {
    session.Note(filter->ByteSizeLong() == 0 ? "no memories yet: mtm remember NAME FILE makes one"
                                             : "no such memories");
    return absl::OkStatus();
  }
  session.out() << MemoryTable(*memories, session.out_width(), session.out_style()) << std::flush;
  for (const v1::Memory& memory : *memories) {
    if (memory.state() != v1::Memory::STATE_QUARANTINED) continue;
    session.err() << session.err_style().Red("quarantined:") << " " << memory.name() << ": "
                  << EscapeControl(memory.state_reason()) << "\n";
  }
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
  auto filter = std::make_shared<FilterOptions>();
  filter->AddTo(memories);
  memories.footer(
      "Examples:\n"
      "  mtm memories\n"
      "  mtm memories --prefix team/ --label topic=pets\n"
      "  mtm memories --state quarantined --json | jq -r '.memories[].name'");
  SetRun(memories, session, filter, List);

  CLI::App& remove = *app.add_subcommand(
      "delete", "Deletes memories with all their versions. Requests under way keep what they started with.");
  auto references = std::make_shared<std::vector<std::string>>();
  remove
      .add_option("NAME", *references,
                  "the memories, each as NAME or NAME@DIGEST, which must be the current version")
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
