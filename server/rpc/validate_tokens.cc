// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/validate_tokens.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"

namespace mtm {
namespace {

// Enough to see what is wrong with a list.
constexpr int kMaxIdsNamed = 8;

bool InVocabulary(int32_t id, const ModelConfig& config) { return id >= 0 && id < config.vocab_size; }

std::string TooLong(const std::string& count, const TokenInput& input) {
  const bool newline = input.text && input.leading_newline;
  return absl::StrCat("has ", count, " tokens", newline ? ", the leading newline included" : "", "; at most ",
                      *input.max_tokens, " ", input.max_reason);
}

std::vector<int32_t> ReadText(const TokenInput& input, const ModelInfo& model, FieldErrors& errors) {
  const std::string_view text = *input.text;
  if (text.empty()) {
    errors.Add(input.text_field, "is empty; must hold at least one character");
    return {};
  }
  if (input.max_tokens && text.size() / model.longest_token_bytes > static_cast<size_t>(*input.max_tokens)) {
    // Refused before tokenizing: no text this long can fit.
    const std::string count = absl::StrCat("more than ", *input.max_tokens);
    errors.Add(input.text_field, TooLong(count, input));
    return {};
  }
  std::vector<int32_t> ids = EncodeText(input.text_field, text, input.leading_newline, model, errors);
  if (input.max_tokens && ids.size() > static_cast<size_t>(*input.max_tokens)) {
    errors.Add(input.text_field, TooLong(absl::StrCat(ids.size()), input));
  }
  return ids;
}

std::vector<int32_t> ReadIds(const TokenInput& input, const ModelInfo& model, FieldErrors& errors) {
  const std::span<const int32_t> ids = *input.ids;
  if (ids.empty()) errors.Add(input.ids_field, "is empty; must hold at least one token id");
  CheckTokenIds(absl::StrCat(input.ids_field, ".ids"), ids, 0, model.config, errors);
  if (input.max_tokens && ids.size() > static_cast<size_t>(*input.max_tokens)) {
    errors.Add(input.ids_field, TooLong(absl::StrCat(ids.size()), input));
  }
  return {ids.begin(), ids.end()};
}

}  // namespace

std::vector<int32_t> ReadTokens(const TokenInput& input, const ModelInfo& model, FieldErrors& errors) {
  if (input.text) return ReadText(input, model, errors);
  if (input.ids) return ReadIds(input, model, errors);
  errors.Add(input.text_field, absl::StrCat("is missing; set it or ", input.ids_field));
  return {};
}

std::vector<int32_t> EncodeText(const std::string& field, std::string_view text, bool leading_newline,
                                const ModelInfo& model, FieldErrors& errors) {
  if (model.tokenizer == nullptr) {
    errors.Add(field, "is a text, and this model has no tokenizer; give token ids");
    return {};
  }
  // Apart, so that the newline is a token of its own whatever the text begins with.
  std::vector<int32_t> ids;
  for (std::string_view part : {std::string_view(leading_newline ? "\n" : ""), text}) {
    const auto part_ids = model.tokenizer->Encode(part);
    if (!part_ids.ok()) {
      errors.Add(field, std::string(part_ids.status().message()));
      return {};
    }
    ids.insert(ids.end(), part_ids->begin(), part_ids->end());
  }
  const auto unknown =
      std::find_if_not(ids.begin(), ids.end(), [&](int32_t id) { return InVocabulary(id, model.config); });
  if (unknown != ids.end()) {
    errors.Add(field, absl::StrCat("has a token ", *unknown, " that the tokenizer knows and the model, with ",
                                   model.config.vocab_size, " tokens, does not"));
  }
  return ids;
}

void CheckTokenIds(const std::string& field, std::span<const int32_t> ids, int64_t first_index,
                   const ModelConfig& config, FieldErrors& errors) {
  int named = 0;
  for (size_t i = 0; i < ids.size() && named < kMaxIdsNamed; ++i) {
    if (InVocabulary(ids[i], config)) continue;
    ++named;
    errors.Add(absl::StrCat(field, "[", first_index + static_cast<int64_t>(i), "]"),
               absl::StrCat("is ", ids[i], "; the vocabulary is 0 to ", config.vocab_size - 1));
  }
}

}  // namespace mtm
