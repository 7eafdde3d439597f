// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_CONNECTION_H_
#define MTM_CLIENT_CONNECTION_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "grpcpp/security/credentials.h"

namespace mtm::client {

// TLS as a client has it. PEM files, of at most 1 MiB each.
struct TlsOptions {
  std::string ca_file;           // the CAs that are trusted; empty: the system's
  std::string certificate_file;  // shown to a server that asks for one, with those up to its CA; empty: none
  std::string key_file;          // the certificate's, without a password; the two go together
};

// How a server is reached, and who asks.
struct ConnectionOptions {
  std::string address;  // as ClientOptions.address
  std::optional<TlsOptions> tls;

  // Sent with every rpc, as `authorization: Bearer`; empty: none. Without TLS it goes to this machine only.
  std::string token;
};

// For ClientOptions.credentials. Reads the files once, now. INVALID_ARGUMENT: a file that cannot be read or
// is not what it should be, which is named; a token that cannot be sent or would be seen by others.
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeCredentials(const ConnectionOptions& options);

// The token in a file of one line. INVALID_ARGUMENT: it cannot be read, or holds no token.
absl::StatusOr<std::string> ReadTokenFile(const std::string& file);

// Whether an address of ClientOptions is on this machine without asking a name server: a unix: socket,
// localhost, 127.0.0.0/8 or ::1.
bool IsLoopback(const std::string& address);

}  // namespace mtm::client

#endif  // MTM_CLIENT_CONNECTION_H_
