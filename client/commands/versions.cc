// SPDX-License-Identifier: Apache-2.0
// rollback and copy: changes that write nothing new.
#include "client/commands/commands.h"
#include "client/commands/write.h"

namespace mtm::client {
namespace {

struct RollbackOptions {
  std::string name;
  std::string digest;
  RequestIdOption id;
};

absl::Status Rollback(Session& session, const RollbackOptions& options) {
  v1::RollbackMemoryRequest request;
  request.set_name(options.name);
  request.set_digest(options.digest);
  request.set_request_id(options.id.request_id);
  const auto memory = session.client().RollbackMemory(request, session.call_options());
  if (!memory.ok()) return memory.status();
  PrintMemory(session, *memory);
  return absl::OkStatus();
}

struct CopyOptions {
  std::string source;
  std::string destination;
  RequestIdOption id;
};

absl::Status Copy(Session& session, const CopyOptions& options) {
  v1::CopyMemoryRequest request;
  request.set_source(options.source);
  request.set_destination(options.destination);
  request.set_request_id(options.id.request_id);
  const auto memory = session.client().CopyMemory(request, session.call_options());
  if (!memory.ok()) return memory.status();
  PrintMemory(session, *memory);
  return absl::OkStatus();
}

}  // namespace

void AddVersionCommands(CLI::App& app, Session& session) {
  CLI::App& rollback = *app.add_subcommand("rollback", "Makes an older version the current one again.");
  auto back = std::make_shared<RollbackOptions>();
  rollback.add_option("NAME", back->name, "the memory")->required()->type_name("");
  rollback
      .add_option("DIGEST", back->digest, "of a version that is kept, 8 digits or more; mtm show lists them")
      ->required()
      ->type_name("");
  back->id.AddTo(rollback);
  rollback.footer(
      "The version that was current is kept and can be rolled back to as well.\n\n"
      "Examples:\n"
      "  mtm rollback cats 39bb442f440e\n"
      "  mtm rollback cats \"$(mtm show cats --json | jq -r '.versions[-2].digest')\"");
  SetRun(rollback, session, back, Rollback);

  CLI::App& copy = *app.add_subcommand("copy", "Gives a version of a memory another name; it takes no room.");
  auto options = std::make_shared<CopyOptions>();
  copy.add_option("NAME", options->source, "the memory, as NAME or NAME@DIGEST")->required()->type_name("");
  copy.add_option("NEW", options->destination, "the new name")->required()->type_name("");
  options->id.AddTo(copy);
  copy.footer(
      "From then on the two change each for itself.\n\n"
      "Examples:\n"
      "  mtm copy cats team/cats\n"
      "  mtm copy cats@39bb442f440e cats-before");
  SetRun(copy, session, options, Copy);
}

}  // namespace mtm::client
