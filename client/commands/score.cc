// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "absl/strings/str_format.h"
#include "client/commands/commands.h"
#include "client/commands/summary.h"
#include "client/options/generate_options.h"
#include "client/options/lists.h"

namespace mtm::client {
namespace {

struct Options {
  PromptOptions prompt;
  MemoryOptions memory;
  std::string continuation;
  std::string mode;
  std::optional<int32_t> logprobs;
};

absl::StatusOr<v1::ScoreRequest> MakeRequest(const Options& options) {
  v1::ScoreRequest request;
  if (absl::Status status = options.prompt.Fill(request); !status.ok()) return status;
  if (options.prompt.tokens) {
    const auto ids = ParseTokenIds(options.continuation);
    if (!ids.ok()) return ids.status();
    request.mutable_continuation_tokens()->mutable_ids()->Add(ids->begin(), ids->end());
  } else {
    request.set_continuation(options.continuation);
  }
  auto uses = options.memory.Uses();
  if (!uses.ok()) return uses.status();
  request.mutable_memory_uses()->Add(uses->begin(), uses->end());
  request.set_mode(ParseMode(options.mode));
  if (options.logprobs) request.set_top_logprobs(*options.logprobs);
  return request;
}

absl::Status Score(Session& session, Options options) {
  auto prompt = ReadPrompt(session, options.prompt.prompt);
  if (!prompt.ok()) return prompt.status();
  options.prompt.prompt = *std::move(prompt);
  const auto request = MakeRequest(options);
  if (!request.ok()) return request.status();
  const auto response = session.client().Score(*request, session.call_options());
  if (!response.ok()) return response.status();
  if (session.json) {
    session.PrintJson(*response);
    return absl::OkStatus();
  }
  session.out() << DetailTable({response->tokens().begin(), response->tokens().end()}, session.out_width(),
                               session.out_style());
  const double mean = response->total_logprob() / std::max(1, response->tokens_size());
  session.out() << absl::StrFormat("total %.4f, %.4f a token, perplexity %.4g\n", response->total_logprob(),
                                   mean, std::exp(-mean));
  for (const std::string& use : UseTexts(response->applied())) {
    session.out() << session.out_style().Dim(use) << "\n";
  }
  if (response->applied().memory_uses_size() > 0) {
    session.out() << session.out_style().Dim(ChangedText(response->usage())) << "\n";
  }
  return absl::OkStatus();
}

}  // namespace

void AddScoreCommand(CLI::App& app, Session& session) {
  CLI::App& command = *app.add_subcommand("score", "Log-probabilities of a given continuation of a prompt.");
  auto options = std::make_shared<Options>();
  options->prompt.AddTo(command);
  command
      .add_option("CONTINUATION", options->continuation, "what follows the prompt, tokenized apart from it")
      ->required()
      ->type_name("");
  options->memory.AddTo(command);
  AddModeOption(command, options->mode);
  command.add_option("--logprobs", options->logprobs, "show the N most probable tokens too")->type_name("N");
  command.footer(
      "--tokens applies to PROMPT and CONTINUATION.\n\n"
      "Examples:\n"
      "  mtm score \"Cats are\" \" lovely\"\n"
      "  mtm score --memory cats --logprobs 5 \"Cats are\" \" horrible\"\n"
      "  mtm score --memory cats --json \"Cats are\" \" lovely\" | jq .total_logprob");
  SetRun(command, session, options, Score);
}

}  // namespace mtm::client
