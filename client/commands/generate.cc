// SPDX-License-Identifier: Apache-2.0
#include <map>
#include <optional>

#include "absl/strings/str_cat.h"
#include "client/commands/commands.h"
#include "client/commands/json.h"
#include "client/commands/summary.h"
#include "client/commands/text_printer.h"
#include "client/options/generate_options.h"

namespace mtm::client {
namespace {

// Takes the events of one request and prints them for people.
class TextView {
 public:
  explicit TextView(Session& session) : session_(session) {}

  void Take(const v1::StreamGenerateResponse& event) {
    if (event.has_started()) {
      started_ = event.started();
      printer_.emplace(session_.out(), started_.parameters().sample_count(), session_.env().terminal.out);
    } else if (event.has_token() && printer_) {
      printer_->Add(event.token().sample(), event.token().text());
      if (event.token().has_detail()) details_[event.token().sample()].push_back(event.token().detail());
    } else if (event.has_sample_finished() && printer_) {
      printer_->Add(event.sample_finished().sample(), event.sample_finished().text());
      printer_->Finish(event.sample_finished().sample());
      finish_reasons_[event.sample_finished().sample()] = event.sample_finished().finish_reason();
    } else if (event.has_finished()) {
      finished_ = event.finished();
    }
  }

  // A text cut short leaves the terminal in the middle of a line.
  void BreakLine() {
    if (printer_ && session_.env().terminal.out) session_.out() << "\n";
  }

  void PrintDetails() {
    for (const auto& [sample, details] : details_) {
      session_.out() << "\n" << DetailTable(details, session_.out_width(), session_.out_style());
    }
  }

  void PrintSummary() {
    if (session_.verbose) {
      for (const std::string& use : UseTexts(started_)) session_.Note(use);
    }
    std::string reasons;
    std::string last;
    for (const auto& [sample, reason] : finish_reasons_) {
      if (FinishText(reason) == last) continue;
      last = FinishText(reason);
      absl::StrAppend(&reasons, reasons.empty() ? "" : "; ", last);
    }
    session_.Note(absl::StrCat("[", reasons, ": ",
                               GenerationSummary(started_, finished_.usage(), finished_.timings()), "]"));
  }

 private:
  Session& session_;
  v1::AppliedRequest started_;
  v1::StreamGenerateResponse::Finished finished_;
  std::optional<TextPrinter> printer_;  // from `started` on
  std::map<int, std::vector<v1::TokenDetail>> details_;
  std::map<int, v1::FinishReason> finish_reasons_;
};

absl::Status Generate(Session& session, GenerateOptions options) {
  auto prompt = ReadPrompt(session, options.prompt.prompt);
  if (!prompt.ok()) return prompt.status();
  options.prompt.prompt = *std::move(prompt);
  const auto request = options.Request();
  if (!request.ok()) return request.status();

  TextView view(session);
  const absl::Status status = session.client().StreamGenerate(
      *request,
      [&](const v1::StreamGenerateResponse& event) {
        if (session.json) {
          session.out() << ToLine(ToJson(event)) << std::flush;
        } else {
          view.Take(event);
        }
        return session.out().good();  // nobody reads on: the server need not go on
      },
      session.call_options());
  if (!session.out().good()) return absl::OkStatus();  // said once, at the end
  if (!status.ok()) view.BreakLine();
  if (!status.ok() || session.json) return status;
  view.PrintDetails();
  session.out().flush();
  if (session.env().terminal.err || session.verbose) view.PrintSummary();
  return absl::OkStatus();
}

}  // namespace

void AddGenerateCommand(CLI::App& app, Session& session) {
  CLI::App& command = *app.add_subcommand("generate", "Continues a prompt and prints the text as it comes.");
  auto options = std::make_shared<GenerateOptions>();
  options->AddTo(command);
  command.footer(
      "Only the text, ended by a line feed, goes to standard output; a summary to standard error where that "
      "is a\n"
      "terminal, or with -v. --json prints one event a line.\n\n"
      "Examples:\n"
      "  mtm generate \"Cats are\"\n"
      "  mtm generate --memory cats -n 100 --seed 1337 \"Cats are horrible\"\n"
      "  mtm generate --memory cats:layers=7-9,bf=0.9 --memory dogs:layers=10,method=2,k=3 \"Pets are\"\n"
      "  mtm generate --temperature 0 --stop $'\\n\\n' --mode exact - < question.txt");
  SetRun(command, session, options, Generate);
}

}  // namespace mtm::client
