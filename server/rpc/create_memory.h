// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_CREATE_MEMORY_H_
#define MTM_SERVER_RPC_CREATE_MEMORY_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "server/rpc/backend.h"

namespace mtm {

// The rpc CreateMemory: reads to the end of the client's stream, then has the memory made.
grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* CreateMemory(Backend& backend);

}  // namespace mtm

#endif  // MTM_SERVER_RPC_CREATE_MEMORY_H_
