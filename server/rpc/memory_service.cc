// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/memory_service.h"

#include "server/rpc/convert.h"
#include "server/rpc/write_memory.h"
#include "server/rpc/field_errors.h"
#include "server/rpc/unary.h"
#include "server/rpc/validate_memory.h"

namespace mtm {
namespace {

absl::Status CheckReference(std::string_view reference) {
  FieldErrors errors;
  CheckMemoryReference("name", reference, errors);
  return errors.ToStatus();
}

absl::StatusOr<v1::Memory> Find(const v1::GetMemoryRequest& request, const MemoryStore& store) {
  const absl::Status status = CheckReference(request.name());
  if (!status.ok()) return status;
  const auto memory = store.Get(request.name());
  if (!memory.ok()) return memory.status();
  return ToProto((*memory)->info());
}

absl::StatusOr<v1::DeleteMemoryResponse> Delete(const v1::DeleteMemoryRequest& request, MemoryStore& store) {
  absl::Status status = CheckReference(request.name());
  if (status.ok()) status = store.Delete(request.name());
  if (!status.ok()) return status;
  return v1::DeleteMemoryResponse();
}

absl::StatusOr<v1::ListMemoriesResponse> List(const MemoryStore& store) {
  v1::ListMemoriesResponse response;
  for (const MemoryInfo& info : store.List()) *response.add_memories() = ToProto(info);
  for (const MemoryStore::Damaged& damaged : store.ListDamaged()) {
    auto& proto = *response.add_damaged();
    proto.set_name(damaged.name);
    proto.set_reason(damaged.reason);
  }
  return response;
}

}  // namespace

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* MemoryService::CreateMemory(
    grpc::CallbackServerContext*) {
  return mtm::CreateMemory(backend_);
}

grpc::ServerUnaryReactor* MemoryService::GetMemory(grpc::CallbackServerContext*,
                                                   const grpc::ByteBuffer* request,
                                                   grpc::ByteBuffer* response) {
  return AnswerNow<v1::GetMemoryRequest>(
      backend_.calls.Begin("GetMemory"), request, response,
      [this](const v1::GetMemoryRequest& message) { return Find(message, backend_.store); });
}

grpc::ServerUnaryReactor* MemoryService::ListMemories(grpc::CallbackServerContext*,
                                                      const grpc::ByteBuffer* request,
                                                      grpc::ByteBuffer* response) {
  return AnswerNow<v1::ListMemoriesRequest>(
      backend_.calls.Begin("ListMemories"), request, response,
      [this](const v1::ListMemoriesRequest&) { return List(backend_.store); });
}

grpc::ServerUnaryReactor* MemoryService::DeleteMemory(grpc::CallbackServerContext*,
                                                      const grpc::ByteBuffer* request,
                                                      grpc::ByteBuffer* response) {
  return AnswerNow<v1::DeleteMemoryRequest>(
      backend_.calls.Begin("DeleteMemory"), request, response,
      [this](const v1::DeleteMemoryRequest& message) { return Delete(message, backend_.store); });
}

}  // namespace mtm
