// SPDX-License-Identifier: Apache-2.0
#include "absl/strings/str_join.h"
#include "client/commands/commands.h"
#include "client/options/lists.h"
#include "client/render/text_width.h"

namespace mtm::client {
namespace {

absl::Status Tokenize(Session& session, const std::string& argument) {
  const auto text = ReadArgument(session, argument);
  if (!text.ok()) return text.status();
  const auto ids = session.client().Tokenize(*text, session.call_options());
  if (!ids.ok()) return ids.status();
  if (session.json) {
    v1::TokenizeResponse response;
    response.mutable_token_ids()->Add(ids->begin(), ids->end());
    session.PrintJson(response);
  } else {
    session.out() << absl::StrJoin(*ids, " ") << "\n";
  }
  return absl::OkStatus();
}

absl::Status Detokenize(Session& session, const std::vector<std::string>& arguments) {
  const auto text = ReadArgument(session, absl::StrJoin(arguments, " "));
  if (!text.ok()) return text.status();
  const auto ids = ParseTokenIds(*text);
  if (!ids.ok()) return ids.status();
  const auto decoded = session.client().Detokenize(*ids, session.call_options());
  if (!decoded.ok()) return decoded.status();
  if (session.json) {
    v1::DetokenizeResponse response;
    response.set_text(*decoded);
    session.PrintJson(response);
  } else {
    session.out() << (session.env().terminal.out ? EscapeControlKeepingLines(*decoded) : *decoded) << "\n";
  }
  return absl::OkStatus();
}

}  // namespace

void AddTokenCommands(CLI::App& app, Session& session) {
  CLI::App& tokenize = *app.add_subcommand("tokenize", "Prints the token ids of a text.");
  auto text = std::make_shared<std::string>();
  tokenize.add_option("TEXT", *text, "the text; - reads standard input, all of it")
      ->required()
      ->type_name("");
  tokenize.footer(
      "Examples:\n"
      "  mtm tokenize \"Cats are\"\n"
      "  mtm tokenize - < cats.txt | wc -w");
  SetRun(tokenize, session, text, Tokenize);

  CLI::App& detokenize = *app.add_subcommand("detokenize", "Prints the text of token ids.");
  auto ids = std::make_shared<std::vector<std::string>>();
  detokenize.add_option("IDS", *ids, "token ids, between spaces or commas; - reads standard input")
      ->required()
      ->type_name("");
  detokenize.footer(
      "Examples:\n"
      "  mtm detokenize 34 1381 389\n"
      "  mtm tokenize \"Cats are\" | mtm detokenize -");
  SetRun(detokenize, session, ids, Detokenize);
}

}  // namespace mtm::client
