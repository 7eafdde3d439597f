// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_REQUESTER_H_
#define MTM_SERVER_RPC_REQUESTER_H_

#include <grpcpp/server_context.h>

#include <string>
#include <string_view>

#include "server/generation/waiting_line.h"
#include "server/rpc/access.h"

namespace mtm {

// Whose an rpc is, among those that take turns, and until when its answer is wanted. The client is the
// token's name; without tokens what its certificate says; without these where it comes from: ClientOfPeer.
Requester RequesterOf(const Principal& principal, const grpc::ServerContextBase& context);

// The client that an address of gRPC's (`ipv4:10.0.0.1:5000`, `ipv6:%5B::1%5D:5000`, `unix:/path`) stands
// for: another host, however many connections it makes; on this host each connection, since they may be of
// different programs. Empty for a Unix socket's, which tells nobody apart.
std::string ClientOfPeer(std::string_view peer);

}  // namespace mtm

#endif  // MTM_SERVER_RPC_REQUESTER_H_
