// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_VALIDATE_MEMORY_H_
#define MTM_SERVER_RPC_VALIDATE_MEMORY_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mtm/v1/memory_service.pb.h"
#include "server/rpc/field_errors.h"
#include "server/rpc/model_info.h"

namespace mtm {

// A memory to be made, without its content.
struct MemoryPlan {
  std::string name;
  std::vector<int> layers;     // from 1, ascending
  std::optional<int> dropped;  // leading tokens of each window; unset: as the content's kind has it
  bool leading_newline = true;

  // METHOD 1: the newline of a text is dropped, and the first of given ids; a text without a newline is kept
  // whole.
  int dropped_tokens(bool is_text) const { return dropped.value_or(!is_text || leading_newline ? 1 : 0); }
};

// Adds to `errors` what is wrong with the fields of `spec`.
MemoryPlan ReadMemorySpec(const v1::CreateMemoryRequest::Spec& spec, const ModelConfig& config,
                          FieldErrors& errors);

// Adds an error unless `reference` is `name` or `name@digest`.
void CheckMemoryReference(const std::string& field, std::string_view reference, FieldErrors& errors);

}  // namespace mtm

#endif  // MTM_SERVER_RPC_VALIDATE_MEMORY_H_
