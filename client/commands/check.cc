// SPDX-License-Identifier: Apache-2.0
// load, unload, verify and reindex: what happens to memories without changing them.
#include <functional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/commands/commands.h"
#include "client/commands/json.h"
#include "client/commands/memory_text.h"
#include "client/commands/progress_line.h"
#include "client/render/format.h"

namespace mtm::client {
namespace {

using Names = std::vector<std::string>;
using Act = std::function<absl::StatusOr<v1::Memory>(Session&, const std::string&, const ProgressCallback&)>;
using Describe = std::function<std::string(const v1::Memory&)>;

// Does `act` to all of them, whatever becomes of one.
absl::Status ForEach(Session& session, const Names& names, const Act& act, const Describe& describe) {
  nlohmann::ordered_json done = nlohmann::ordered_json::array();
  for (const std::string& name : names) {
    absl::StatusOr<v1::Memory> memory;
    {
      ProgressLine line(session, name, ProgressUnit::kBytes);
      memory = act(session, name, line.callback());
    }
    session.Report(memory.status());
    if (session.env().stop.stop_requested()) break;
    if (!memory.ok()) continue;
    if (session.json) {
      done.push_back(ToJson(*memory));
    } else {
      session.out() << memory->name() << ": " << describe(*memory) << "\n" << std::flush;
    }
  }
  if (session.json) session.out() << ToDocument({{"memories", done}});
  return absl::OkStatus();
}

std::string IndexText(const v1::Memory& memory) {
  if (!memory.has_index()) return "no part is large enough for an index";
  return absl::StrFormat("index over %s, recall@10 %.3f",
                         FormatCounted(memory.index().indexed_token_count(), "token"),
                         memory.index().recall_at_10());
}

void AddCommand(CLI::App& app, Session& session, const std::string& name, const std::string& description,
                const std::string& footer, const Act& act, const Describe& describe) {
  CLI::App& command = *app.add_subcommand(name, description);
  auto names = std::make_shared<Names>();
  command.add_option("NAME", *names, "the memories")->required()->type_name("");
  command.footer(footer);
  SetRun(command, session, names,
         [act, describe](Session& s, const Names& chosen) { return ForEach(s, chosen, act, describe); });
}

}  // namespace

void AddCheckCommands(CLI::App& app, Session& session) {
  const Describe state = [](const v1::Memory& memory) { return StateText(memory.state()); };
  AddCommand(
      app, session, "load", "Loads memories, so that the first request need not wait.",
      "Examples:\n"
      "  mtm load cats\n"
      "  mtm load $(mtm memories --prefix team/ --json | jq -r '.memories[].name')",
      [](Session& s, const std::string& name, const ProgressCallback&) {
        return s.client().LoadMemory(name, s.call_options());
      },
      state);
  AddCommand(
      app, session, "unload", "Lets go of loaded memories. Requests under way keep them until they end.",
      "Examples:\n"
      "  mtm unload cats dogs",
      [](Session& s, const std::string& name, const ProgressCallback&) {
        return s.client().UnloadMemory(name, s.call_options());
      },
      state);
  AddCommand(
      app, session, "verify", "Compares every byte of memories with their checksums and digests.",
      "A damaged memory is quarantined, and the exit code is 8. NAME may be NAME@DIGEST.\n\n"
      "Examples:\n"
      "  mtm verify cats\n"
      "  mtm verify cats dogs@0f3a9c21 && echo all is well",
      [](Session& s, const std::string& name, const ProgressCallback& progress) {
        return s.client().VerifyMemory(name, progress, s.call_options());
      },
      [](const v1::Memory& memory) {
        return absl::StrCat(FormatBytes(memory.size_bytes()), " as written, digest ",
                            ShortDigest(memory.digest()));
      });
  AddCommand(
      app, session, "reindex", "Makes the search index of memories' large parts anew.",
      "Examples:\n"
      "  mtm reindex cats",
      [](Session& s, const std::string& name, const ProgressCallback& progress) {
        return s.client().RebuildIndex(name, progress, s.call_options());
      },
      IndexText);
}

}  // namespace mtm::client
