// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_MEMORY_UPLOAD_H_
#define MTM_SERVER_RPC_MEMORY_UPLOAD_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "memory_store/memory_store.h"
#include "mtm/v1/memory_service.pb.h"
#include "server/generation/memory_maker.h"
#include "server/rpc/model_info.h"
#include "server/rpc/validate_memory.h"

namespace mtm {

// Puts the messages of a CreateMemory stream together and checks them. Not thread-safe.
class MemoryUpload {
 public:
  // Both outlive the upload. A token id counts as 4 of `max_bytes`.
  MemoryUpload(const ModelInfo& model, const MemoryStore& store, int64_t max_bytes);

  // The next message, in the order they came. An error is final: INVALID_ARGUMENT; ALREADY_EXISTS;
  // FAILED_PRECONDITION: a text, and no tokenizer; RESOURCE_EXHAUSTED: more than `max_bytes`.
  absl::Status Add(const v1::CreateMemoryRequest& message);

  // After the last message. Tokenizes, which takes about a second for each megabyte of text.
  absl::StatusOr<MemoryRequest> Finish();

 private:
  absl::Status AddSpec(const v1::CreateMemoryRequest::Spec& spec);
  absl::Status AddText(const std::string& text);
  absl::Status AddTokenIds(const v1::TokenIdChunk& chunk);
  absl::Status CheckSize(int64_t bytes) const;

  const ModelInfo& model_;
  const MemoryStore& store_;
  const int64_t max_bytes_;
  std::optional<MemoryPlan> plan_;
  std::string text_;
  std::vector<int32_t> ids_;
};

}  // namespace mtm

#endif  // MTM_SERVER_RPC_MEMORY_UPLOAD_H_
