// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_VALIDATE_USES_H_
#define MTM_SERVER_RPC_VALIDATE_USES_H_

#include <google/protobuf/repeated_ptr_field.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "memory_store/memory_store.h"
#include "mtm/v1/inference_service.pb.h"
#include "server/model/memory_use.h"
#include "server/rpc/access.h"
#include "server/rpc/field_errors.h"
#include "server/rpc/model_info.h"

namespace mtm {

using MemoryUseProtos = google::protobuf::RepeatedPtrField<v1::MemoryUse>;

// Layers and parameters with their defaults, still without the memories. Adds to `errors` what is wrong.
std::vector<MemoryUse> ReadMemoryUses(const MemoryUseProtos& protos, const ModelConfig& config,
                                      FieldErrors& errors);

// Whether FindMemories would have to load one of them, which is not for gRPC's threads. What `principal` may
// not read is not looked at.
bool WouldLoad(const MemoryUseProtos& protos, const MemoryStore& store, const Principal& principal);

// Finds the memory of each use, and loads those that are not resident. NOT_FOUND, DATA_LOSS and
// RESOURCE_EXHAUSTED as WithRight and MemoryStore::Get, the last with a delay where another try may succeed;
// FAILED_PRECONDITION: made by another model, a layer that it does not keep, or too large for the server.
absl::Status FindMemories(const MemoryUseProtos& protos, MemoryStore& store, const ModelInfo& model,
                          const Principal& principal, std::vector<MemoryUse>& uses);

// Layers from 1, ascending, each of them once. Adds to `errors` what is not.
std::vector<int> ReadLayers(const std::string& field, const google::protobuf::RepeatedField<int32_t>& layers,
                            int n_layer, FieldErrors& errors);

}  // namespace mtm

#endif  // MTM_SERVER_RPC_VALIDATE_USES_H_
