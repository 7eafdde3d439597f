// SPDX-License-Identifier: Apache-2.0
// watch and wait: what others, or earlier commands, do.
#include "absl/strings/str_cat.h"
#include "client/commands/commands.h"
#include "client/commands/json.h"
#include "client/commands/memory_text.h"
#include "client/commands/write.h"
#include "client/options/memory_filter.h"
#include "client/render/format.h"
#include "client/render/text_width.h"

namespace mtm::client {
namespace {

std::string UpdateLine(const v1::Memory& memory) {
  if (memory.state() == v1::Memory::STATE_QUARANTINED) {
    return absl::StrCat(memory.name(), ": quarantined: ", EscapeControl(memory.state_reason()));
  }
  return absl::StrCat(MemoryLine(memory), ", ", StateText(memory.state()),
                      memory.labels().empty() ? "" : ", ", LabelsText(memory));
}

absl::Status Watch(Session& session, const FilterOptions& options) {
  const auto filter = options.Filter();
  if (!filter.ok()) return filter.status();
  int64_t present = 0;
  const absl::Status status = session.client().WatchMemories(
      *filter,
      [&](const v1::WatchMemoriesResponse& event) {
        if (session.json) {
          session.out() << ToLine(ToJson(event)) << std::flush;
        } else if (event.has_updated()) {
          ++present;
          session.out() << "updated " << UpdateLine(event.updated()) << "\n" << std::flush;
        } else if (event.has_synced()) {
          if (session.env().terminal.err || session.verbose) {
            session.Note(
                absl::StrCat("[", present, present == 1 ? " memory" : " memories", "; changes follow]"));
          }
        } else if (event.event_case() == v1::WatchMemoriesResponse::kDeleted) {
          session.out() << "deleted " << event.deleted() << "\n" << std::flush;
        }
        return session.out().good();
      },
      session.call_options());
  return session.out().good() ? status : absl::OkStatus();  // said once, at the end
}

absl::Status Wait(Session& session, const std::string& request_id) {
  const auto event = Write(session, request_id, request_id, [&](const ProgressCallback& progress) {
    return session.client().WatchWrite(request_id, progress, session.call_options());
  });
  if (!event.ok()) return event.status();
  PrintWrite(session, *event);
  return absl::OkStatus();
}

}  // namespace

void AddWatchCommands(CLI::App& app, Session& session) {
  CLI::App& watch =
      *app.add_subcommand("watch", "Prints the memories, then every change, a line each, until ^C.");
  auto filter = std::make_shared<FilterOptions>();
  filter->AddTo(watch);
  watch.footer(
      "--json prints one event a line: updated, deleted, and synced once all that there was has been "
      "printed.\n\n"
      "Examples:\n"
      "  mtm watch --prefix team/\n"
      "  mtm watch --state quarantined --json | jq --unbuffered -r '.updated.name // empty'");
  SetRun(watch, session, filter, Watch);

  CLI::App& wait = *app.add_subcommand("wait", "Waits for the end of a write with a request id.");
  auto request_id = std::make_shared<std::string>();
  wait.add_option("ID", *request_id, "the write's request id")->required()->type_name("");
  wait.footer(
      "Prints what the write made, from its start to long after its end, restarts of the server included.\n\n"
      "Examples:\n"
      "  mtm wait 0b5c7f7e-6f0b-4c53-9d3c-0a4f3f1f9f7e\n"
      "  mtm remember big big.txt --detach --request-id big-1; mtm wait big-1");
  SetRun(wait, session, request_id, Wait);
}

}  // namespace mtm::client
