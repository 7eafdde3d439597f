// SPDX-License-Identifier: Apache-2.0
#include "absl/strings/str_cat.h"
#include "client/commands/commands.h"
#include "client/commands/summary.h"
#include "client/render/format.h"
#include "client/render/table.h"

namespace mtm::client {
namespace {

absl::Status ShowModel(Session& session) {
  const auto model = session.client().GetModel(session.call_options());
  if (!model.ok()) return model.status();
  if (session.json) {
    session.PrintJson(*model);
    return absl::OkStatus();
  }
  session.out() << RenderFields(
      {{"name", model->name()},
       {"fingerprint", model->fingerprint()},
       {"parameters", FormatCount(model->parameter_count())},
       {"layers", absl::StrCat(model->layer_count())},
       {"heads", absl::StrCat(model->head_count())},
       {"embedding", absl::StrCat(model->embedding_dim())},
       {"context", FormatCounted(model->context_length(), "token")},
       {"vocabulary", FormatCounted(model->vocabulary_size(), "token")},
       {"tokenizer", model->has_tokenizer() ? "yes" : "no, token ids only"},
       {"end of text",
        model->has_end_of_text_token() ? absl::StrCat("token ", model->end_of_text_token()) : "none"},
       {"memory layers", absl::StrCat(LayersText(model->default_layers()), " unless a request says others")},
       {"device", model->device()},
       {"weights", WeightsText(model->weight_type())},
       {"server", model->server_version()}},
      session.out_style());
  return absl::OkStatus();
}

}  // namespace

void AddModelCommand(CLI::App& app, Session& session) {
  CLI::App& command = *app.add_subcommand("model", "Shows the model that the server holds.");
  command.footer(
      "Examples:\n"
      "  mtm model\n"
      "  mtm model --json | jq .context_length");
  command.callback([&session] { session.run = ShowModel; });
}

}  // namespace mtm::client
