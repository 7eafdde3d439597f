// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_COMMANDS_CONNECTION_FLAGS_H_
#define MTM_CLIENT_COMMANDS_CONNECTION_FLAGS_H_

#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "client/connection.h"

namespace mtm::client {

// --server, --tls..., --token-file. Each has an environment variable of its name: MTM_SERVER, MTM_TLS_CA.
struct ConnectionFlags {
  std::string server = "127.0.0.1:50051";
  bool tls = false;
  TlsOptions tls_files;  // any of them means TLS too
  std::string token_file;

  void AddTo(CLI::App& app);

  // The token is that of the file, else what MTM_TOKEN holds. INVALID_ARGUMENT: as ReadTokenFile.
  absl::StatusOr<ConnectionOptions> Options() const;
};

}  // namespace mtm::client

#endif  // MTM_CLIENT_COMMANDS_CONNECTION_FLAGS_H_
