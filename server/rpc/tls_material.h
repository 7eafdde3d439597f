// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_TLS_MATERIAL_H_
#define MTM_SERVER_RPC_TLS_MATERIAL_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/rpc/credentials.h"

namespace mtm {

// What TlsFiles hold, found good together.
struct TlsMaterial {
  std::string certificate;
  std::string key;
  std::string client_ca;  // empty: none
  absl::Time expiry;      // of the server's certificate

  friend bool operator==(const TlsMaterial&, const TlsMaterial&) = default;
};

// Errors as TlsCredentials.
absl::StatusOr<TlsMaterial> ReadTlsMaterial(const TlsFiles& files);

}  // namespace mtm

#endif  // MTM_SERVER_RPC_TLS_MATERIAL_H_
