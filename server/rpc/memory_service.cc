// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/memory_service.h"

#include "server/rpc/change_memory.h"
#include "server/rpc/convert.h"
#include "server/rpc/memory_filter.h"
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
  const auto record = store.Find(request.name());
  if (!record.ok()) return record.status();
  return ToProto(**record, /*with_versions=*/true);
}

// For rpcs that wait for the disk: `change` is called with the request, the store and the call.
template <typename Request, typename Function>
grpc::ServerUnaryReactor* AnswerChange(Backend& backend, std::string_view rpc,
                                       const grpc::ByteBuffer* request, grpc::ByteBuffer* response,
                                       Function change) {
  return AnswerOn<Request>(backend.worker, backend.calls.Begin(rpc), request, response,
                           [&store = backend.store, change](const Request& message, RpcCall& call) {
                             return change(message, store, call);
                           });
}

}  // namespace

MemoryService::Bidi* MemoryService::CreateMemory(Context*) { return mtm::CreateMemory(backend_); }

MemoryService::Bidi* MemoryService::ReplaceMemory(Context*) { return mtm::ReplaceMemory(backend_); }

MemoryService::Bidi* MemoryService::AppendToMemory(Context*) { return mtm::AppendToMemory(backend_); }

MemoryService::Writer* MemoryService::ForgetFromMemory(Context*, const Bytes* request) {
  return mtm::ForgetFromMemory(backend_, *request);
}

MemoryService::Writer* MemoryService::WatchWrite(Context*, const Bytes* request) {
  return mtm::WatchWrite(backend_, *request);
}

MemoryService::Unary* MemoryService::RollbackMemory(Context*, const Bytes* request, Bytes* response) {
  return AnswerChange<v1::RollbackMemoryRequest>(backend_, "RollbackMemory", request, response,
                                                 mtm::RollbackMemory);
}

MemoryService::Unary* MemoryService::CopyMemory(Context*, const Bytes* request, Bytes* response) {
  return AnswerChange<v1::CopyMemoryRequest>(backend_, "CopyMemory", request, response, mtm::CopyMemory);
}

MemoryService::Unary* MemoryService::UpdateMemory(Context*, const Bytes* request, Bytes* response) {
  return AnswerChange<v1::UpdateMemoryRequest>(backend_, "UpdateMemory", request, response,
                                               mtm::UpdateMemory);
}

MemoryService::Unary* MemoryService::GetMemory(Context*, const Bytes* request, Bytes* response) {
  return AnswerNow<v1::GetMemoryRequest>(backend_.calls.Begin("GetMemory"), request, response,
                                         [this](const v1::GetMemoryRequest& message, RpcCall& call) {
                                           return FindMemory(message, backend_.store, call);
                                         });
}

MemoryService::Unary* MemoryService::ListMemories(Context*, const Bytes* request, Bytes* response) {
  return AnswerNow<v1::ListMemoriesRequest>(backend_.calls.Begin("ListMemories"), request, response,
                                            [this](const v1::ListMemoriesRequest& message, RpcCall&) {
                                              return mtm::ListMemories(message, *backend_.store.catalog());
                                            });
}

MemoryService::Writer* MemoryService::WatchMemories(Context*, const Bytes* request) {
  return mtm::WatchMemories(backend_, *request);
}

MemoryService::Unary* MemoryService::DeleteMemory(Context*, const Bytes* request, Bytes* response) {
  return AnswerChange<v1::DeleteMemoryRequest>(backend_, "DeleteMemory", request, response,
                                               mtm::DeleteMemory);
}

MemoryService::Unary* MemoryService::LoadMemory(Context*, const Bytes* request, Bytes* response) {
  return AnswerChange<v1::LoadMemoryRequest>(backend_, "LoadMemory", request, response, mtm::LoadMemory);
}

MemoryService::Unary* MemoryService::UnloadMemory(Context*, const Bytes* request, Bytes* response) {
  return AnswerChange<v1::UnloadMemoryRequest>(backend_, "UnloadMemory", request, response,
                                               mtm::UnloadMemory);
}

MemoryService::Writer* MemoryService::VerifyMemory(Context*, const Bytes* request) {
  return mtm::VerifyMemory(backend_, *request);
}

MemoryService::Writer* MemoryService::RebuildIndex(Context*, const Bytes* request) {
  return mtm::RebuildIndex(backend_, *request);
}

MemoryService::Writer* MemoryService::ExportMemory(Context*, const Bytes* request) {
  return mtm::ExportMemory(backend_, *request);
}

MemoryService::Bidi* MemoryService::ImportMemory(Context*) { return mtm::ImportMemory(backend_); }

}  // namespace mtm
