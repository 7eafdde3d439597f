// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_MEMORY_SERVICE_H_
#define MTM_SERVER_RPC_MEMORY_SERVICE_H_

#include "mtm/v1/memory_service.grpc.pb.h"
#include "server/rpc/backend.h"

namespace mtm {

// clang-format off
using RawMemoryService =
    v1::MemoryService::WithRawCallbackMethod_CreateMemory<
    v1::MemoryService::WithRawCallbackMethod_ReplaceMemory<
    v1::MemoryService::WithRawCallbackMethod_AppendToMemory<
    v1::MemoryService::WithRawCallbackMethod_ForgetFromMemory<
    v1::MemoryService::WithRawCallbackMethod_WatchWrite<
    v1::MemoryService::WithRawCallbackMethod_RollbackMemory<
    v1::MemoryService::WithRawCallbackMethod_CopyMemory<
    v1::MemoryService::WithRawCallbackMethod_UpdateMemory<
    v1::MemoryService::WithRawCallbackMethod_GetMemory<
    v1::MemoryService::WithRawCallbackMethod_ListMemories<
    v1::MemoryService::WithRawCallbackMethod_WatchMemories<
    v1::MemoryService::WithRawCallbackMethod_DeleteMemory<
    v1::MemoryService::WithRawCallbackMethod_LoadMemory<
    v1::MemoryService::WithRawCallbackMethod_UnloadMemory<
    v1::MemoryService::WithRawCallbackMethod_VerifyMemory<
    v1::MemoryService::WithRawCallbackMethod_RebuildIndex<
    v1::MemoryService::WithRawCallbackMethod_ExportMemory<
    v1::MemoryService::WithRawCallbackMethod_ImportMemory<
    v1::MemoryService::Service>>>>>>>>>>>>>>>>>>;
// clang-format on

// mtm.v1.MemoryService. Takes requests as bytes: messages.h says why. Thread-safe.
class MemoryService final : public RawMemoryService {
 public:
  explicit MemoryService(Backend& backend) : backend_(backend) {}

  using Context = grpc::CallbackServerContext;
  using Bytes = grpc::ByteBuffer;
  using Unary = grpc::ServerUnaryReactor;
  using Writer = grpc::ServerWriteReactor<grpc::ByteBuffer>;
  using Bidi = grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;

  Bidi* CreateMemory(Context*) override;
  Bidi* ReplaceMemory(Context*) override;
  Bidi* AppendToMemory(Context*) override;
  Writer* ForgetFromMemory(Context*, const Bytes* request) override;
  Writer* WatchWrite(Context*, const Bytes* request) override;
  Unary* RollbackMemory(Context*, const Bytes* request, Bytes* response) override;
  Unary* CopyMemory(Context*, const Bytes* request, Bytes* response) override;
  Unary* UpdateMemory(Context*, const Bytes* request, Bytes* response) override;
  Unary* GetMemory(Context*, const Bytes* request, Bytes* response) override;
  Unary* ListMemories(Context*, const Bytes* request, Bytes* response) override;
  Writer* WatchMemories(Context*, const Bytes* request) override;
  Unary* DeleteMemory(Context*, const Bytes* request, Bytes* response) override;
  Unary* LoadMemory(Context*, const Bytes* request, Bytes* response) override;
  Unary* UnloadMemory(Context*, const Bytes* request, Bytes* response) override;
  Writer* VerifyMemory(Context*, const Bytes* request) override;
  Writer* RebuildIndex(Context*, const Bytes* request) override;
  Writer* ExportMemory(Context*, const Bytes* request) override;
  Bidi* ImportMemory(Context*) override;

 private:
  Backend& backend_;
};

}  // namespace mtm

#endif  // MTM_SERVER_RPC_MEMORY_SERVICE_H_
