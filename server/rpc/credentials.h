// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_CREDENTIALS_H_
#define MTM_SERVER_RPC_CREDENTIALS_H_

#include <grpcpp/security/server_credentials.h>

#include <filesystem>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace mtm {

// PEM files.
struct TlsFiles {
  std::filesystem::path certificate;  // the server's, then those between it and its CA
  std::filesystem::path key;          // of the certificate, not encrypted
  std::filesystem::path client_ca;    // whoever connects shows a certificate of these; empty: nobody need
};

// TLS 1.2 or later. The files are read again with each new connection; as long as they are no good, the last
// good ones are used and the fault is logged. Outlives the server that listens with it. An error names the
// file: NOT_FOUND, FAILED_PRECONDITION (permission), INVALID_ARGUMENT (no PEM, a key of another certificate,
// or one that OpenSSL finds too weak).
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> TlsCredentials(const TlsFiles& files);

// Whether `address`, host:port or unix:path, is reached from this machine alone.
bool IsLoopback(const std::string& address);

}  // namespace mtm

#endif  // MTM_SERVER_RPC_CREDENTIALS_H_
