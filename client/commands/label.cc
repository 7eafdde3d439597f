// SPDX-License-Identifier: Apache-2.0
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/commands/commands.h"
#include "client/commands/memory_text.h"
#include "client/options/annotations.h"

namespace mtm::client {
namespace {

struct Options {
  std::string name;
  std::vector<std::string> changes;  // KEY=VALUE or KEY-
  std::string metadata;
};

// The labels of the memory after `changes`.
absl::StatusOr<Labels> Change(const v1::Memory& memory, const std::vector<std::string>& changes) {
  std::vector<std::string> settings;
  Labels labels(memory.labels().begin(), memory.labels().end());
  for (const std::string& change : changes) {
    if (change.find('=') == std::string::npos && absl::EndsWith(change, "-")) {
      labels.erase(change.substr(0, change.size() - 1));
    } else {
      settings.push_back(change);
    }
  }
  const auto set = ParseLabels(settings);
  if (!set.ok()) return set.status();
  for (const auto& [key, value] : *set) labels[key] = value;
  return labels;
}

absl::Status Label(Session& session, const Options& options) {
  v1::UpdateMemoryRequest request;
  request.set_name(options.name);
  if (!options.metadata.empty()) {
    auto metadata = ParseMetadata(options.metadata);
    if (!metadata.ok()) return metadata.status();
    *request.mutable_metadata() = *std::move(metadata);
  }
  auto memory = session.client().GetMemory(options.name, session.call_options());
  if (!memory.ok()) return memory.status();
  if (!options.changes.empty()) {
    const auto labels = Change(*memory, options.changes);
    if (!labels.ok()) return labels.status();
    request.mutable_labels()->mutable_labels()->insert(labels->begin(), labels->end());
  }
  if (request.has_labels() || request.has_metadata()) {
    memory = session.client().UpdateMemory(request, session.call_options());
    if (!memory.ok()) return memory.status();
  }
  if (session.json) {
    session.PrintJson(*memory);
    return absl::OkStatus();
  }
  const std::string metadata = MetadataText(*memory);
  session.out() << memory->name() << ": " << (memory->labels().empty() ? "no labels" : LabelsText(*memory))
                << (metadata.empty() ? "" : "; ") << metadata << "\n";
  return absl::OkStatus();
}

}  // namespace

void AddLabelCommand(CLI::App& app, Session& session) {
  CLI::App& command = *app.add_subcommand("label", "Sets and removes labels and metadata of a memory.");
  auto options = std::make_shared<Options>();
  command.add_option("NAME", options->name, "the memory")->required()->type_name("");
  command.add_option("CHANGE", options->changes, "KEY=VALUE sets a label, KEY- removes it; the others stay")
      ->type_name("");
  command
      .add_option("--metadata", options->metadata,
                  "a JSON object to keep with the memory; {} removes what there was")
      ->type_name("JSON");
  command.footer(
      "Labels belong to the name and not to a version: setting them makes no new one. Without changes it "
      "shows\n"
      "them.\n\n"
      "Examples:\n"
      "  mtm label cats topic=pets owner=me\n"
      "  mtm label cats owner- --metadata '{\"from\": \"cats.txt\"}'\n"
      "  mtm memories --label topic=pets");
  SetRun(command, session, options, Label);
}

}  // namespace mtm::client
