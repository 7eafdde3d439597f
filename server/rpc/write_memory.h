// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_WRITE_MEMORY_H_
#define MTM_SERVER_RPC_WRITE_MEMORY_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "server/rpc/backend.h"

namespace mtm {

// The rpcs that write a memory's content: each has the MemoryMaker make a version, and streams its progress.

// Read to the end of the client's stream first.
grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* CreateMemory(
    Backend& backend, grpc::CallbackServerContext& context);
grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* ReplaceMemory(
    Backend& backend, grpc::CallbackServerContext& context);
grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* AppendToMemory(
    Backend& backend, grpc::CallbackServerContext& context);

grpc::ServerWriteReactor<grpc::ByteBuffer>* ForgetFromMemory(Backend& backend,
                                                             grpc::CallbackServerContext& context,
                                                             const grpc::ByteBuffer& request);
grpc::ServerWriteReactor<grpc::ByteBuffer>* WatchWrite(Backend& backend, grpc::CallbackServerContext& context,
                                                       const grpc::ByteBuffer& request);

}  // namespace mtm

#endif  // MTM_SERVER_RPC_WRITE_MEMORY_H_
