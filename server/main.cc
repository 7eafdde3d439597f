// SPDX-License-Identifier: Apache-2.0
#include <google/protobuf/stubs/logging.h>

#include <cstdlib>
#include <exception>
#include <functional>
#include <iostream>
#include <optional>

#include "server/commands/commands.h"
#include "server/options.h"

namespace {

absl::Status Run(const mtm::Options& options,
                 const std::function<std::optional<mtm::ServeOptions>()>& read_again) {
  // The file system's library throws, as does the allocator.
  try {
    switch (options.command) {
      case mtm::Command::kServe:
        return mtm::Serve(options.serve, read_again);
      case mtm::Command::kImportReference:
        return mtm::ImportReference(options.import);
      case mtm::Command::kHashToken:
        return mtm::HashToken(options.hash_token, std::cin, std::cout);
    }
  } catch (const std::exception& error) {
    return absl::InternalError(error.what());
  }
  return absl::InternalError("no such command");
}

}  // namespace

// Exit codes: 0, 1 for an error, 2 for a wrong command line.
int main(int argc, char** argv) {
  // Errors are reported once, by us; gRPC's own lines are there for who asks for them.
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  google::protobuf::SetLogHandler(nullptr);  // bad UTF-8 is answered, not logged past our log
  mtm::Options options;
  if (const auto exit_code = mtm::ParseOptions(argc, argv, options)) return *exit_code;
  const absl::Status status = Run(options, [&]() -> std::optional<mtm::ServeOptions> {
    mtm::Options again;
    if (mtm::ParseOptions(argc, argv, again)) return std::nullopt;
    return again.serve;
  });
  if (status.ok()) return 0;
  std::cerr << "mtm_server: " << status.message() << "\n";
  return 1;
}
