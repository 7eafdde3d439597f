// SPDX-License-Identifier: Apache-2.0
#include "client/commands/connection_flags.h"

#include <cstdlib>
#include <utility>

namespace mtm::client {

void ConnectionFlags::AddTo(CLI::App& app) {
  app.add_option("--server", server)->envname("MTM_SERVER");
  app.add_flag("--tls", tls)->envname("MTM_TLS");
  app.add_option("--tls-ca", tls_files.ca_file)->envname("MTM_TLS_CA");
  CLI::Option* certificate =
      app.add_option("--tls-cert", tls_files.certificate_file)->envname("MTM_TLS_CERT");
  CLI::Option* key = app.add_option("--tls-key", tls_files.key_file)->envname("MTM_TLS_KEY");
  certificate->needs(key);
  key->needs(certificate);
  app.add_option("--token-file", token_file)->envname("MTM_TOKEN_FILE");
}

absl::StatusOr<ConnectionOptions> ConnectionFlags::Options() const {
  ConnectionOptions options;
  options.address = server;
  if (tls || !tls_files.ca_file.empty() || !tls_files.certificate_file.empty()) options.tls = tls_files;
  if (!token_file.empty()) {
    auto token = ReadTokenFile(token_file);
    if (!token.ok()) return token.status();
    options.token = *std::move(token);
  } else if (const char* token = std::getenv("MTM_TOKEN")) {
    options.token = token;
  }
  return options;
}

}  // namespace mtm::client
