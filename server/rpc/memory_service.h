// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_MEMORY_SERVICE_H_
#define MTM_SERVER_RPC_MEMORY_SERVICE_H_

#include "mtm/v1/memory_service.grpc.pb.h"
#include "server/rpc/backend.h"

namespace mtm {

// clang-format off
using RawMemoryService =
    v1::MemoryService::WithRawCallbackMethod_CreateMemory<
    v1::MemoryService::WithRawCallbackMethod_GetMemory<
    v1::MemoryService::WithRawCallbackMethod_ListMemories<
    v1::MemoryService::WithRawCallbackMethod_DeleteMemory<
    v1::MemoryService::Service>>>>;
// clang-format on

// mtm.v1.MemoryService. Takes requests as bytes: messages.h says why. Thread-safe.
class MemoryService final : public RawMemoryService {
 public:
  explicit MemoryService(Backend& backend) : backend_(backend) {}

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* CreateMemory(
      grpc::CallbackServerContext*) override;
  grpc::ServerUnaryReactor* GetMemory(grpc::CallbackServerContext*, const grpc::ByteBuffer* request,
                                      grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* ListMemories(grpc::CallbackServerContext*, const grpc::ByteBuffer* request,
                                         grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* DeleteMemory(grpc::CallbackServerContext*, const grpc::ByteBuffer* request,
                                         grpc::ByteBuffer* response) override;

 private:
  Backend& backend_;
};

}  // namespace mtm

#endif  // MTM_SERVER_RPC_MEMORY_SERVICE_H_
