// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_CHANGE_MEMORY_H_
#define MTM_SERVER_RPC_CHANGE_MEMORY_H_

#include "absl/status/statusor.h"
#include "memory_store/memory_store.h"
#include "mtm/v1/memory_service.pb.h"
#include "server/rpc/rpc_calls.h"

namespace mtm {

// The unary rpcs of MemoryService that wait for the disk. Errors: INVALID_ARGUMENT with every field at fault,
// then those of
// WithRight and of the store.

absl::StatusOr<v1::Memory> RollbackMemory(const v1::RollbackMemoryRequest& request, MemoryStore& store,
                                          RpcCall& call);
absl::StatusOr<v1::Memory> CopyMemory(const v1::CopyMemoryRequest& request, MemoryStore& store,
                                      RpcCall& call);
absl::StatusOr<v1::Memory> UpdateMemory(const v1::UpdateMemoryRequest& request, MemoryStore& store,
                                        RpcCall& call);
absl::StatusOr<v1::DeleteMemoryResponse> DeleteMemory(const v1::DeleteMemoryRequest& request,
                                                      MemoryStore& store, RpcCall& call);
absl::StatusOr<v1::Memory> LoadMemory(const v1::LoadMemoryRequest& request, MemoryStore& store,
                                      RpcCall& call);
absl::StatusOr<v1::Memory> UnloadMemory(const v1::UnloadMemoryRequest& request, MemoryStore& store,
                                        RpcCall& call);

}  // namespace mtm

#endif  // MTM_SERVER_RPC_CHANGE_MEMORY_H_
