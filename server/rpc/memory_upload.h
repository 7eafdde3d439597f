// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_MEMORY_UPLOAD_H_
#define MTM_SERVER_RPC_MEMORY_UPLOAD_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mtm/v1/memory_service.pb.h"
#include "server/rpc/model_info.h"
#include "server/rpc/validate_memory.h"

namespace mtm {

// Puts the messages of a CreateMemory, ReplaceMemory or AppendToMemory stream together and checks them. Not
// thread-safe.
class MemoryUpload {
 public:
  // `model` outlives the upload. A token id counts as 4 of `max_bytes`. `replace`: the stream is
  // ReplaceMemory's.
  MemoryUpload(const ModelInfo& model, int64_t max_bytes, bool replace = false);

  // The next message, in the order they came. An error is final: INVALID_ARGUMENT; FAILED_PRECONDITION: a
  // text, and no tokenizer; RESOURCE_EXHAUSTED: more than `max_bytes`.
  absl::Status Add(const v1::CreateMemoryRequest& message);
  absl::Status Add(const v1::AppendToMemoryRequest& message);

  // What the first message has asked for. Precondition: it was added.
  const WriteRequest& request() const { return plan_->request; }

  // After the last message. Tokenizes, which takes about a second for each megabyte of text.
  absl::StatusOr<WriteRequest> Finish();

 private:
  template <typename Message>
  absl::Status AddPart(const Message& message);
  UploadPlan Read(const v1::CreateMemoryRequest::Spec& spec, FieldErrors& errors) const;
  UploadPlan Read(const v1::AppendToMemoryRequest::Spec& spec, FieldErrors& errors) const;
  absl::Status AddText(const std::string& text);
  absl::Status AddTokenIds(const v1::TokenIdChunk& chunk);
  absl::Status CheckSize(int64_t bytes) const;

  const ModelInfo& model_;
  const int64_t max_bytes_;
  const bool replace_;
  std::optional<UploadPlan> plan_;
  std::string text_;
  std::vector<int32_t> ids_;
};

}  // namespace mtm

#endif  // MTM_SERVER_RPC_MEMORY_UPLOAD_H_
