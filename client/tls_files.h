// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_TLS_FILES_H_
#define MTM_CLIENT_TLS_FILES_H_

#include <string>

#include "absl/status/statusor.h"
#include "client/connection.h"
#include "grpcpp/security/credentials.h"

namespace mtm::client {

// What the files of `options` hold, found good: gRPC would say only that the server is unavailable.
// INVALID_ARGUMENT names the file.
absl::StatusOr<grpc::SslCredentialsOptions> ReadTlsFiles(const TlsOptions& options);

// The whole of a file, or of a pipe, of at most 1 MiB. INVALID_ARGUMENT names it.
absl::StatusOr<std::string> ReadSmallFile(const std::string& file);

}  // namespace mtm::client

#endif  // MTM_CLIENT_TLS_FILES_H_
