// SPDX-License-Identifier: Apache-2.0
#include "absl/strings/str_cat.h"
#include "client/commands/commands.h"
#include "client/commands/json.h"
#include "client/commands/summary.h"
#include "client/options/generate_options.h"
#include "client/render/columns.h"
#include "client/render/format.h"
#include "client/render/text_width.h"

namespace mtm::client {
namespace {

void PrintComparison(Session& session, const std::string& prompt, const v1::GenerateResponse& without,
                     const v1::GenerateResponse& with) {
  const Style style = session.out_style();
  const int width = session.out_width();
  session.out() << style.Dim("prompt: ") << EscapeControl(prompt) << "\n\n";
  const int samples = std::min(without.samples_size(), with.samples_size());
  for (int i = 0; i < samples; ++i) {
    const std::string number = samples > 1 ? absl::StrCat(" (", i + 1, " of ", samples, ")") : "";
    const Panel left = {absl::StrCat("without memory", number), without.samples(i).text()};
    const Panel right = {absl::StrCat("with ", UseNames(with.applied()), number), with.samples(i).text()};
    session.out() << (width > 0 ? SideBySide(left, right, width, style) : Stacked(left, right, style))
                  << "\n";
  }
  for (const std::string& use : UseTexts(with.applied())) session.out() << style.Dim(use) << "\n";
  session.out() << style.Dim(absl::StrCat(ChangedText(with.usage()), "; seed ",
                                          with.applied().parameters().sampling().seed(), "; ",
                                          FormatElapsed(TotalTime(without.timings())), " without, ",
                                          FormatElapsed(TotalTime(with.timings())), " with"))
                << "\n";
}

absl::Status Compare(Session& session, GenerateOptions options) {
  auto prompt = ReadPrompt(session, options.prompt.prompt);
  if (!prompt.ok()) return prompt.status();
  options.prompt.prompt = *std::move(prompt);
  auto request = options.Request();
  if (!request.ok()) return request.status();
  if (request->memory_uses().empty())
    return absl::InvalidArgumentError("compare needs a --memory to compare with");

  // The memory first: it is what the request can be wrong about. Its echo has the seed that was drawn.
  const auto with = session.client().Generate(*request, session.call_options());
  if (!with.ok()) return with.status();
  request->clear_memory_uses();
  request->mutable_parameters()->mutable_sampling()->set_seed(with->applied().parameters().sampling().seed());
  const auto without = session.client().Generate(*request, session.call_options());
  if (!without.ok()) return without.status();

  if (session.json) {
    session.out() << ToDocument({{"without", ToJson(*without)}, {"with", ToJson(*with)}});
  } else {
    PrintComparison(session, options.prompt.prompt, *without, *with);
  }
  return absl::OkStatus();
}

}  // namespace

void AddCompareCommand(CLI::App& app, Session& session) {
  CLI::App& command =
      *app.add_subcommand("compare", "Continues a prompt with and without the memories, from the same seed.");
  auto options = std::make_shared<GenerateOptions>();
  options->AddTo(command);
  command.footer(
      "Side by side on a terminal, one below the other elsewhere; then what the memories did.\n\n"
      "Examples:\n"
      "  mtm compare --memory cats \"Cats are horrible\"\n"
      "  mtm compare --memory vancouver --layers 10 --method 2 --mf 0 --ts 1000 --resid 0.1 -n 1 --samples 3 "
      "\\\n"
      "      \"The name of the city is\"\n"
      "  mtm compare --memory cats --json \"Cats are\" | jq -r '.with.samples[0].text'");
  SetRun(command, session, options, Compare);
}

}  // namespace mtm::client
