// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_CHANNELZ_H_
#define MTM_SERVER_RPC_CHANNELZ_H_

#include <grpcpp/server_builder.h>

#include "server/rpc/access.h"

namespace mtm {

// Every builder made from now on adds grpc.channelz.v1: what gRPC knows of the process's connections.
// Idempotent.
void EnableChannelz();

// Keeps channelz for tokens that may administer all namespaces, `*`; `access` outlives the server.
// UNAUTHENTICATED, PERMISSION_DENIED.
void GuardChannelz(grpc::ServerBuilder& builder, Access& access);

}  // namespace mtm

#endif  // MTM_SERVER_RPC_CHANNELZ_H_
