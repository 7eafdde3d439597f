// SPDX-License-Identifier: Apache-2.0
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "client/commands/commands.h"
#include "client/commands/summary.h"
#include "client/options/generate_options.h"
#include "client/render/format.h"
#include "client/render/table.h"

namespace mtm::client {
namespace {

struct Options {
  GenerateOptions generate;
  std::optional<int32_t> max_entries;
};

// Spaces within a neighbour that a table must not wrap at.
constexpr char kHardSpace[] = "\u00A0";

std::string DistanceText(double distance) {
  return distance < 100 ? absl::StrFormat("%.3g", distance) : absl::StrFormat("%.0f", distance);
}

std::string NeighboursText(const v1::TraceEntry& entry) {
  std::string text;
  for (const auto& neighbour : entry.neighbours()) {
    const std::string part =
        absl::StrFormat("%s@%d %.3f/%s", Quoted(neighbour.text()), neighbour.memory_position(),
                        neighbour.weight(), DistanceText(neighbour.distance()));
    absl::StrAppend(&text, text.empty() ? "" : "  ", absl::StrReplaceAll(part, {{" ", kHardSpace}}));
  }
  return text;
}

std::string StepTable(const std::vector<const v1::TraceEntry*>& entries, int width, const Style& style) {
  std::vector<Row> rows;
  for (const v1::TraceEntry* entry : entries) {
    rows.push_back({absl::StrCat(entry->layer()), absl::StrCat(entry->head()),
                    absl::StrCat(entry->position()), Quoted(entry->text()),
                    absl::StrFormat("%.4f", entry->attention()), absl::StrFormat("%.3f", entry->own_weight()),
                    NeighboursText(*entry)});
  }
  const std::string table = RenderTable({{"layer", Align::kRight},
                                         {"head", Align::kRight},
                                         {"pos", Align::kRight},
                                         {"token"},
                                         {"attn", Align::kRight},
                                         {"own", Align::kRight},
                                         {"\"neighbour\"@row weight/distance"}},
                                        rows, width, style);
  return absl::StrReplaceAll(table, {{kHardSpace, " "}});
}

void PrintSample(Session& session, const v1::Sample& sample) {
  std::map<int, std::vector<const v1::TraceEntry*>> by_step;
  for (const v1::TraceEntry& entry : sample.trace()) by_step[entry.step()].push_back(&entry);
  for (const auto& [step, entries] : by_step) {
    std::string heading = absl::StrCat("step ", step);
    // The end-of-text token has a step and no detail.
    if (step < sample.details_size()) {
      absl::StrAppend(&heading, ", generated ", Quoted(sample.details(step).chosen().token()));
    }
    absl::StrAppend(&heading, ", ", FormatCounted(static_cast<int64_t>(entries.size()), "lookup"));
    session.out() << session.out_style().Cyan(heading) << "\n"
                  << StepTable(entries, session.out_width(), session.out_style()) << "\n";
  }
  if (by_step.empty()) session.out() << "no tokens-head was selected: nothing was looked up\n\n";
  if (sample.trace_entries_left_out() > 0) {
    session.out() << FormatCount(sample.trace_entries_left_out())
                  << " more not shown: --max-entries N raises the limit\n\n";
  }
}

absl::Status Trace(Session& session, Options options) {
  auto prompt = ReadPrompt(session, options.generate.prompt.prompt);
  if (!prompt.ok()) return prompt.status();
  options.generate.prompt.prompt = *std::move(prompt);
  auto request = options.generate.Request();
  if (!request.ok()) return request.status();
  if (request->memory_uses().empty())
    return absl::InvalidArgumentError("trace needs a --memory to look things up in");
  v1::GenerationParameters& parameters = *request->mutable_parameters();
  if (!parameters.has_max_tokens()) parameters.set_max_tokens(1);
  if (!parameters.has_top_logprobs()) parameters.set_top_logprobs(0);  // brings the generated tokens' texts
  parameters.mutable_trace();
  if (options.max_entries) parameters.mutable_trace()->set_max_entries(*options.max_entries);

  const auto response = session.client().Generate(*request, session.call_options());
  if (!response.ok()) return response.status();
  if (session.json) {
    session.PrintJson(*response);
    return absl::OkStatus();
  }
  for (const std::string& use : UseTexts(response->applied())) {
    session.out() << session.out_style().Dim(use) << "\n";
  }
  session.out() << "\n";
  for (int i = 0; i < response->samples_size(); ++i) {
    if (response->samples_size() > 1)
      session.out() << "== sample " << i + 1 << " of " << response->samples_size() << " ==\n";
    PrintSample(session, response->samples(i));
  }
  session.out() << session.out_style().Dim(
                       GenerationSummary(response->applied(), response->usage(), response->timings()))
                << "\n";
  return absl::OkStatus();
}

}  // namespace

void AddTraceCommand(CLI::App& app, Session& session) {
  CLI::App& command = *app.add_subcommand("trace", "Shows what was looked up in the memories, step by step.");
  auto options = std::make_shared<Options>();
  options->generate.AddTo(command);
  command.add_option("--max-entries", options->max_entries, "most lookups shown of a sample (default 1000)")
      ->type_name("N");
  command.footer(
      "Generates one token unless -n says more. A row is one head and position whose value a memory changed: "
      "the\n"
      "attention that the newest token pays to it, the share its own value keeps among the candidates, and "
      "the\n"
      "nearest rows of the memory. Line feeds show as ⏎.\n\n"
      "Examples:\n"
      "  mtm trace --memory cats \"Cats are\"\n"
      "  mtm trace --memory vancouver --layers 10 --method 2 --mf 0 -k 3 \"The name of the city is\"\n"
      "  mtm trace --memory cats -n 5 --json \"Cats are\" | jq '.samples[0].trace | length'");
  SetRun(command, session, options, Trace);
}

}  // namespace mtm::client
