// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_VALIDATE_TOKENS_H_
#define MTM_SERVER_RPC_VALIDATE_TOKENS_H_

#include <google/protobuf/repeated_field.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "server/rpc/field_errors.h"
#include "server/rpc/model_info.h"

namespace mtm {

// A prompt or a continuation as a request gives it: a text or token ids.
struct TokenInput {
  std::string text_field;
  std::optional<std::string_view> text;
  std::string ids_field;
  std::optional<std::span<const int32_t>> ids;
  bool leading_newline = false;  // put a newline token before a text
  std::optional<int> max_tokens = {};
  std::string max_reason = "fit the context";  // behind "at most 64"
};

// The elements of a repeated field.
inline std::span<const int32_t> SpanOf(const google::protobuf::RepeatedField<int32_t>& ids) {
  return {ids.data(), static_cast<size_t>(ids.size())};
}

// Its tokens: at least one, all of the model's vocabulary. Adds to `errors` what is wrong.
std::vector<int32_t> ReadTokens(const TokenInput& input, const ModelInfo& model, FieldErrors& errors);

// The ids of a newline and of `text`. Adds to `errors`: no tokenizer, no UTF-8, ids that the model does not
// have.
std::vector<int32_t> EncodeText(const std::string& field, std::string_view text, bool leading_newline,
                                const ModelInfo& model, FieldErrors& errors);

// Adds an error for each id outside the vocabulary. `first_index` is that of ids[0] in `field`.
void CheckTokenIds(const std::string& field, std::span<const int32_t> ids, int64_t first_index,
                   const ModelConfig& config, FieldErrors& errors);

}  // namespace mtm

#endif  // MTM_SERVER_RPC_VALIDATE_TOKENS_H_
