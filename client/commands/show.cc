// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/commands/commands.h"
#include "client/commands/memory_text.h"
#include "client/commands/summary.h"
#include "client/render/format.h"
#include "client/render/table.h"
#include "client/render/text_width.h"

namespace mtm::client {
namespace {

constexpr int kMostSources = 50;

std::string IndexText(const v1::Memory& memory) {
  if (!memory.has_index()) {
    return memory.state() == v1::Memory::STATE_RESIDENT ? "none: searched exactly"
                                                        : "not known until it is loaded";
  }
  return absl::StrFormat("over %s, recall@10 %.3f",
                         FormatCounted(memory.index().indexed_token_count(), "token"),
                         memory.index().recall_at_10());
}

std::string LeadingText(const v1::Memory& memory) {
  const int count = memory.leading_token_ids_size();
  if (count == 0) return "none: every token is stored";
  return absl::StrCat(FormatCounted(count, "token"), " of each window run and not stored");
}

std::string FieldList(const v1::Memory& memory, const Style& style) {
  std::vector<std::pair<std::string, std::string>> fields = {
      {"name", memory.name()},
      {"digest", memory.digest()},
      {"state", StateText(memory.state())},
      {"tokens", FormatCount(memory.token_count())},
      {"layers", LayersText(memory.layers())},
      {"heads", absl::StrCat(memory.head_count(), " of ", memory.head_dim(), " numbers",
                             memory.data_type() == v1::DATA_TYPE_F16 ? ", f16" : ", f32")},
      {"leading", LeadingText(memory)},
      {"size", FormatBytes(memory.size_bytes())},
      {"index", IndexText(memory)},
      {"created", LocalTime(memory.create_time())},
      {"labels", memory.labels().empty() ? "none" : LabelsText(memory)},
      {"source digest", memory.source_digest()},
      {"model",
       absl::StrCat(memory.model_fingerprint(), ", ", WeightsText(memory.weight_type()), " weights")}};
  if (memory.state() == v1::Memory::STATE_QUARANTINED) {
    fields[2].second = style.Red(fields[2].second) + ": " + EscapeControl(memory.state_reason());
  }
  if (const std::string metadata = MetadataText(memory); !metadata.empty()) {
    fields.emplace(fields.end() - 2, "metadata", metadata);
  }
  return RenderFields(fields, style);
}

std::string SourceTable(const v1::Memory& memory, int width, const Style& style) {
  std::vector<Row> rows;
  const int shown = std::min(memory.sources_size(), kMostSources);
  for (const v1::MemorySource& source : memory.sources()) {
    if (static_cast<int>(rows.size()) == shown) break;
    rows.push_back({FormatCount(source.first_token()), FormatCount(source.token_count()),
                    source.label().empty() ? "(none)" : EscapeControl(source.label())});
  }
  std::string table =
      RenderTable({{"from", Align::kRight}, {"tokens", Align::kRight}, {"source"}}, rows, width, style);
  if (shown < memory.sources_size()) {
    absl::StrAppend(&table, FormatCount(memory.sources_size() - shown), " more sources: --json has all\n");
  }
  return table;
}

// The newest first.
std::string VersionTable(const v1::Memory& memory, int width, const Style& style) {
  std::vector<Row> rows;
  for (const v1::MemoryVersion& version : memory.versions()) {
    rows.push_back({ShortDigest(version.digest()), FormatCount(version.token_count()),
                    FormatBytes(version.size_bytes()), LocalTime(version.create_time()), ""});
  }
  std::reverse(rows.begin(), rows.end());
  rows.front().back() = "current";
  return RenderTable({{"version"}, {"tokens", Align::kRight}, {"size", Align::kRight}, {"created"}, {""}},
                     rows, width, style);
}

absl::Status Show(Session& session, const std::string& reference) {
  const auto memory = session.client().GetMemory(reference, session.call_options());
  if (!memory.ok()) return memory.status();
  if (session.json) {
    session.PrintJson(*memory);
    return absl::OkStatus();
  }
  const Style style = session.out_style();
  const int width = session.out_width();
  session.out() << FieldList(*memory, style);
  if (!memory->sources().empty()) session.out() << "\n" << SourceTable(*memory, width, style);
  if (!memory->versions().empty()) session.out() << "\n" << VersionTable(*memory, width, style);
  return absl::OkStatus();
}

}  // namespace

void AddShowCommand(CLI::App& app, Session& session) {
  CLI::App& show =
      *app.add_subcommand("show", "Shows one memory in detail: its texts, versions, index and state.");
  auto reference = std::make_shared<std::string>();
  show.add_option("NAME", *reference, "the memory, as NAME or NAME@DIGEST")->required()->type_name("");
  show.footer(
      "Examples:\n"
      "  mtm show cats\n"
      "  mtm show team/cats@0f3a9c21 --json");
  SetRun(show, session, reference, Show);
}

}  // namespace mtm::client
