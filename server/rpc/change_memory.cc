// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/change_memory.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "memory_store/memory_name.h"
#include "server/rpc/convert.h"
#include "server/rpc/memory_rights.h"
#include "server/rpc/validate_change.h"
#include "server/rpc/validate_memory.h"

namespace mtm {
namespace {

absl::StatusOr<v1::Memory> ToReply(const absl::StatusOr<std::shared_ptr<const MemoryRecord>>& record) {
  if (!record.ok()) return record.status();
  return ToProto(**record, /*with_versions=*/false);
}

}  // namespace

absl::StatusOr<v1::Memory> RollbackMemory(const v1::RollbackMemoryRequest& request, MemoryStore& store,
                                          RpcCall& call) {
  FieldErrors errors;
  CheckName("name", request.name(), errors);
  if (errors.empty()) {
    CheckMemoryReference("digest", absl::StrCat(request.name(), "@", request.digest()), errors);
  }
  CheckRequestId("request_id", request.request_id(), errors);
  if (!errors.empty()) return errors.ToStatus();
  call.set_memory(absl::StrCat(request.name(), "@", request.digest()));
  const CommitOptions options{.request_id = call.principal().OwnRequestId(request.request_id())};
  return WithRight(call.principal(), Right::kWrite, request.name(), store,
                   [&] { return ToReply(store.Rollback(request.name(), request.digest(), options)); });
}

absl::StatusOr<v1::Memory> CopyMemory(const v1::CopyMemoryRequest& request, MemoryStore& store,
                                      RpcCall& call) {
  FieldErrors errors;
  CheckMemoryReference("source", request.source(), errors);
  CheckName("destination", request.destination(), errors);
  CheckRequestId("request_id", request.request_id(), errors);
  if (!errors.empty()) return errors.ToStatus();
  call.set_memory(request.destination());
  const CommitOptions options{.request_id = call.principal().OwnRequestId(request.request_id())};
  const auto copy = [&]() -> absl::StatusOr<v1::Memory> {
    const absl::Status allowed = call.principal().CheckNew(request.destination());
    if (!allowed.ok()) return allowed;
    return ToReply(store.Copy(request.source(), request.destination(), options));
  };
  return WithRight(call.principal(), Right::kRead, request.source(), store, copy);
}

absl::StatusOr<v1::Memory> UpdateMemory(const v1::UpdateMemoryRequest& request, MemoryStore& store,
                                        RpcCall& call) {
  FieldErrors errors;
  CommitOptions options;
  CheckName("name", request.name(), errors);
  if (request.has_labels()) options.labels = ReadLabels("labels.labels", request.labels().labels(), errors);
  if (request.has_metadata()) options.metadata = ReadMetadata("metadata", request.metadata(), errors);
  if (!errors.empty()) return errors.ToStatus();
  call.set_memory(request.name());
  return WithRight(call.principal(), Right::kWrite, request.name(), store,
                   [&] { return ToReply(store.Update(request.name(), options)); });
}

absl::StatusOr<v1::DeleteMemoryResponse> DeleteMemory(const v1::DeleteMemoryRequest& request,
                                                      MemoryStore& store, RpcCall& call) {
  FieldErrors errors;
  CheckMemoryReference("name", request.name(), errors);
  CheckRequestId("request_id", request.request_id(), errors);
  if (!errors.empty()) return errors.ToStatus();
  call.set_memory(request.name());
  const CommitOptions options{.request_id = call.principal().OwnRequestId(request.request_id())};
  const absl::Status status = WithRight(call.principal(), Right::kWrite, request.name(), store,
                                        [&] { return store.Delete(request.name(), options); });
  if (!status.ok()) return status;
  return v1::DeleteMemoryResponse();
}

absl::StatusOr<v1::Memory> LoadMemory(const v1::LoadMemoryRequest& request, MemoryStore& store,
                                      RpcCall& call) {
  FieldErrors errors;
  CheckMemoryReference("name", request.name(), errors);
  if (!errors.empty()) return errors.ToStatus();
  call.set_memory(request.name());
  const auto memory = WithRight(call.principal(), Right::kAdmin, request.name(), store,
                                [&] { return store.Get(request.name()); });
  if (!memory.ok()) return memory.status();
  return ToReply(store.Find(request.name()));
}

absl::StatusOr<v1::Memory> UnloadMemory(const v1::UnloadMemoryRequest& request, MemoryStore& store,
                                        RpcCall& call) {
  FieldErrors errors;
  CheckName("name", request.name(), errors);
  if (!errors.empty()) return errors.ToStatus();
  call.set_memory(request.name());
  const absl::Status status = WithRight(call.principal(), Right::kAdmin, request.name(), store,
                                        [&] { return store.Unload(request.name()); });
  if (!status.ok()) return status;
  return ToReply(store.Find(request.name()));
}

}  // namespace mtm
