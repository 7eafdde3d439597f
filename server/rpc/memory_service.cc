// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/memory_service.h"

#include "server/rpc/change_memory.h"
#include "server/rpc/convert.h"
#include "server/rpc/memory_filter.h"
#include "server/rpc/memory_rights.h"
#include "server/rpc/memory_streams.h"
#include "server/rpc/unary.h"
#include "server/rpc/validate_memory.h"
#include "server/rpc/write_memory.h"

namespace mtm {
namespace {

absl::StatusOr<v1::Memory> FindMemory(const v1::GetMemoryRequest& request, const MemoryStore& store,
                                      RpcCall& call) {
  FieldErrors errors;
  CheckMemoryReference("name", request.name(), errors);
  if (!errors.empty()) return errors.ToStatus();
  call.set_memory(request.name());
  const auto record = WithRight(call.principal(), Right::kRead, request.name(), store,
                                [&] { return store.Find(request.name()); });
  if (!record.ok()) return record.status();
  return ToProto(**record, /*with_versions=*/true);
}

// For rpcs that wait for the disk: `change` is called with the request, the store and the call.
template <typename Request, typename Function>
grpc::ServerUnaryReactor* AnswerChange(Backend& backend, grpc::CallbackServerContext& context,
                                       std::string_view rpc, const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response, Function change) {
  return AnswerOn<Request>(backend.worker, backend.calls.Begin(rpc, context), request, response,
                           [&store = backend.store, change](const Request& message, RpcCall& call) {
                             return change(message, store, call);
                           });
}

}  // namespace

MemoryService::Bidi* MemoryService::CreateMemory(Context* context) {
  return mtm::CreateMemory(backend_, *context);
}

MemoryService::Bidi* MemoryService::ReplaceMemory(Context* context) {
  return mtm::ReplaceMemory(backend_, *context);
}

MemoryService::Bidi* MemoryService::AppendToMemory(Context* context) {
  return mtm::AppendToMemory(backend_, *context);
}

MemoryService::Writer* MemoryService::ForgetFromMemory(Context* context, const Bytes* request) {
  return mtm::ForgetFromMemory(backend_, *context, *request);
}

MemoryService::Writer* MemoryService::WatchWrite(Context* context, const Bytes* request) {
  return mtm::WatchWrite(backend_, *context, *request);
}

MemoryService::Unary* MemoryService::RollbackMemory(Context* context, const Bytes* request, Bytes* response) {
  return AnswerChange<v1::RollbackMemoryRequest>(backend_, *context, "RollbackMemory", request, response,
                                                 mtm::RollbackMemory);
}

MemoryService::Unary* MemoryService::CopyMemory(Context* context, const Bytes* request, Bytes* response) {
  return AnswerChange<v1::CopyMemoryRequest>(backend_, *context, "CopyMemory", request, response,
                                             mtm::CopyMemory);
}

MemoryService::Unary* MemoryService::UpdateMemory(Context* context, const Bytes* request, Bytes* response) {
  return AnswerChange<v1::UpdateMemoryRequest>(backend_, *context, "UpdateMemory", request, response,
                                               mtm::UpdateMemory);
}

MemoryService::Unary* MemoryService::GetMemory(Context* context, const Bytes* request, Bytes* response) {
  return AnswerNow<v1::GetMemoryRequest>(backend_.calls.Begin("GetMemory", *context), request, response,
                                         [this](const v1::GetMemoryRequest& message, RpcCall& call) {
                                           return FindMemory(message, backend_.store, call);
                                         });
}

MemoryService::Unary* MemoryService::ListMemories(Context* context, const Bytes* request, Bytes* response) {
  return AnswerNow<v1::ListMemoriesRequest>(backend_.calls.Begin("ListMemories", *context), request, response,
                                            [this](const v1::ListMemoriesRequest& message, RpcCall& call) {
                                              return mtm::ListMemories(message, *backend_.store.catalog(),
                                                                       call.principal());
                                            });
}

MemoryService::Writer* MemoryService::WatchMemories(Context* context, const Bytes* request) {
  return mtm::WatchMemories(backend_, *context, *request);
}

MemoryService::Unary* MemoryService::DeleteMemory(Context* context, const Bytes* request, Bytes* response) {
  return AnswerChange<v1::DeleteMemoryRequest>(backend_, *context, "DeleteMemory", request, response,
                                               mtm::DeleteMemory);
}

MemoryService::Unary* MemoryService::LoadMemory(Context* context, const Bytes* request, Bytes* response) {
  return AnswerChange<v1::LoadMemoryRequest>(backend_, *context, "LoadMemory", request, response,
                                             mtm::LoadMemory);
}

MemoryService::Unary* MemoryService::UnloadMemory(Context* context, const Bytes* request, Bytes* response) {
  return AnswerChange<v1::UnloadMemoryRequest>(backend_, *context, "UnloadMemory", request, response,
                                               mtm::UnloadMemory);
}

MemoryService::Writer* MemoryService::VerifyMemory(Context* context, const Bytes* request) {
  return mtm::VerifyMemory(backend_, *context, *request);
}

MemoryService::Writer* MemoryService::RebuildIndex(Context* context, const Bytes* request) {
  return mtm::RebuildIndex(backend_, *context, *request);
}

MemoryService::Writer* MemoryService::ExportMemory(Context* context, const Bytes* request) {
  return mtm::ExportMemory(backend_, *context, *request);
}

MemoryService::Bidi* MemoryService::ImportMemory(Context* context) {
  return mtm::ImportMemory(backend_, *context);
}

}  // namespace mtm
