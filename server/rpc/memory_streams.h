// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_MEMORY_STREAMS_H_
#define MTM_SERVER_RPC_MEMORY_STREAMS_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "server/rpc/backend.h"

namespace mtm {

// The streaming rpcs of MemoryService that run no model.

grpc::ServerWriteReactor<grpc::ByteBuffer>* WatchMemories(Backend& backend,
                                                          grpc::CallbackServerContext& context,
                                                          const grpc::ByteBuffer& request);

grpc::ServerWriteReactor<grpc::ByteBuffer>* VerifyMemory(Backend& backend,
                                                         grpc::CallbackServerContext& context,
                                                         const grpc::ByteBuffer& request);
grpc::ServerWriteReactor<grpc::ByteBuffer>* RebuildIndex(Backend& backend,
                                                         grpc::CallbackServerContext& context,
                                                         const grpc::ByteBuffer& request);

grpc::ServerWriteReactor<grpc::ByteBuffer>* ExportMemory(Backend& backend,
                                                         grpc::CallbackServerContext& context,
                                                         const grpc::ByteBuffer& request);
grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* ImportMemory(
    Backend& backend, grpc::CallbackServerContext& context);

}  // namespace mtm

#endif  // MTM_SERVER_RPC_MEMORY_STREAMS_H_
