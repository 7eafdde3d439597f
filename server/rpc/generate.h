// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_GENERATE_H_
#define MTM_SERVER_RPC_GENERATE_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "server/rpc/backend.h"

namespace mtm {

// The rpcs Generate, StreamGenerate and Score: from a request's bytes to the engine, and back.

grpc::ServerUnaryReactor* Generate(Backend& backend, grpc::CallbackServerContext& context,
                                   const grpc::ByteBuffer& request, grpc::ByteBuffer* response);

grpc::ServerWriteReactor<grpc::ByteBuffer>* StreamGenerate(Backend& backend,
                                                           grpc::CallbackServerContext& context,
                                                           const grpc::ByteBuffer& request);

grpc::ServerUnaryReactor* Score(Backend& backend, grpc::CallbackServerContext& context,
                                const grpc::ByteBuffer& request, grpc::ByteBuffer* response);

}  // namespace mtm

#endif  // MTM_SERVER_RPC_GENERATE_H_
