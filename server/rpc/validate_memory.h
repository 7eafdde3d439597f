// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_VALIDATE_MEMORY_H_
#define MTM_SERVER_RPC_VALIDATE_MEMORY_H_

#include <optional>
#include <string>
#include <string_view>

#include "mtm/v1/memory_service.pb.h"
#include "server/generation/memory_request.h"
#include "server/rpc/field_errors.h"
#include "server/rpc/model_info.h"

namespace mtm {

// Each of these adds to `errors` what is wrong.

// A write of a text that is still to come.
struct UploadPlan {
  WriteRequest request;        // its change is a CreateRequest or an AppendRequest, without tokens
  std::optional<int> dropped;  // leading tokens of each window; unset: as the content's kind has it
  bool leading_newline = true;

  // METHOD 1: the newline of a text is dropped, and the first of given ids; a text without a newline is kept
  // whole.
  int dropped_tokens(bool is_text) const { return dropped.value_or(!is_text || leading_newline ? 1 : 0); }
};

// `replace`: the request is ReplaceMemory's.
UploadPlan ReadSpec(const v1::CreateMemoryRequest::Spec& spec, bool replace, const ModelConfig& config,
                    FieldErrors& errors);
UploadPlan ReadSpec(const v1::AppendToMemoryRequest::Spec& spec, FieldErrors& errors);

WriteRequest ReadForget(const v1::ForgetFromMemoryRequest& request, FieldErrors& errors);

// Unless `reference` is `name` or `name@digest`.
void CheckMemoryReference(const std::string& field, std::string_view reference, FieldErrors& errors);

}  // namespace mtm

#endif  // MTM_SERVER_RPC_VALIDATE_MEMORY_H_
