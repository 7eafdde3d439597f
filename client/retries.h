// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_RETRIES_H_
#define MTM_CLIENT_RETRIES_H_

#include <string>

#include "client/client.h"

namespace mtm::client {

inline constexpr int kBackoffFactor = 3;

// The gRPC service config by which a channel tries idempotent rpcs again where the server is unavailable:
// unary ones, and StreamGenerate as long as nothing has come.
std::string ServiceConfig(const ClientOptions& options);

}  // namespace mtm::client

#endif  // MTM_CLIENT_RETRIES_H_
