// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/memory_upload.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/rpc/field_errors.h"
#include "server/rpc/validate_tokens.h"

namespace mtm {
namespace {

// Puts tokens into a change that has none yet; the first `dropped` are its leading ones.
void SetTokens(std::vector<int32_t> tokens, int dropped, MemoryChange& change) {
  if (auto* append = std::get_if<AppendRequest>(&change)) {
    append->tokens = std::move(tokens);
    return;
  }
  auto& create = std::get<CreateRequest>(change);
  create.leading.assign(tokens.begin(), tokens.begin() + dropped);
  tokens.erase(tokens.begin(), tokens.begin() + dropped);
  create.tokens = std::move(tokens);
}

}  // namespace

MemoryUpload::MemoryUpload(const ModelInfo& model, int64_t max_bytes, bool replace)
    : model_(model), max_bytes_(max_bytes), replace_(replace) {}

absl::Status MemoryUpload::Add(const v1::CreateMemoryRequest& message) { return AddPart(message); }
absl::Status MemoryUpload::Add(const v1::AppendToMemoryRequest& message) { return AddPart(message); }

template <typename Message>
absl::Status MemoryUpload::AddPart(const Message& message) {
  if (!plan_ && !message.has_spec()) {
    return FieldError("spec", "is missing; the first message must be `spec`");
  }
  switch (message.part_case()) {
    case Message::kSpec: {
      if (plan_) return FieldError("spec", "came before; only the first message is `spec`");
      FieldErrors errors;
      plan_ = Read(message.spec(), errors);
      return errors.ToStatus();
    }
    case Message::kText:
      return AddText(message.text());
    case Message::kTokenIds:
      return AddTokenIds(message.token_ids());
    case Message::PART_NOT_SET:
      break;
  }
  return FieldError("part", "is missing; must be `text` or `token_ids`");
}

UploadPlan MemoryUpload::Read(const v1::CreateMemoryRequest::Spec& spec, FieldErrors& errors) const {
  return ReadSpec(spec, replace_, model_.config, errors);
}

UploadPlan MemoryUpload::Read(const v1::AppendToMemoryRequest::Spec& spec, FieldErrors& errors) const {
  return ReadSpec(spec, errors);
}

absl::Status MemoryUpload::AddText(const std::string& text) {
  if (!ids_.empty()) return FieldError("text", "came after token ids; a memory is made of one or the other");
  if (model_.tokenizer == nullptr) {
    return absl::FailedPreconditionError("text: this model has no tokenizer; give token ids");
  }
  const absl::Status status = CheckSize(static_cast<int64_t>(text_.size() + text.size()));
  if (status.ok()) text_.append(text);
  return status;
}

absl::Status MemoryUpload::AddTokenIds(const v1::TokenIdChunk& chunk) {
  if (!text_.empty()) return FieldError("token_ids", "came after text; a memory is made of one or the other");
  const auto& ids = chunk.ids();
  const absl::Status status = CheckSize(static_cast<int64_t>((ids_.size() + ids.size()) * sizeof(int32_t)));
  if (!status.ok()) return status;
  FieldErrors errors;
  CheckTokenIds("token_ids.ids", SpanOf(ids), static_cast<int64_t>(ids_.size()), model_.config, errors);
  ids_.insert(ids_.end(), ids.begin(), ids.end());
  return errors.ToStatus();
}

absl::Status MemoryUpload::CheckSize(int64_t bytes) const {
  if (bytes <= max_bytes_) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("a memory's text is at most ", max_bytes_, " bytes here, and a token id counts as 4"));
}

absl::StatusOr<WriteRequest> MemoryUpload::Finish() {
  if (!plan_) return FieldError("spec", "is missing; the first message must be `spec`");
  const bool is_text = ids_.empty();
  if (is_text && text_.empty()) return FieldError("text", "is empty; a memory holds at least one token");
  std::vector<int32_t> tokens = std::move(ids_);
  if (is_text) {
    FieldErrors errors;
    const std::string text = std::move(text_);  // megabytes, let go of when they are tokens
    tokens = EncodeText("text", text, plan_->leading_newline, model_, errors);
    if (!errors.empty()) return errors.ToStatus();
  }
  const int dropped = plan_->dropped_tokens(is_text);
  if (std::cmp_less_equal(tokens.size(), dropped)) {
    return FieldError(is_text ? "text" : "token_ids",
                      absl::StrCat("has ", tokens.size(), " tokens, of which the first ", dropped,
                                   " are dropped; a memory holds at least one token"));
  }
  SetTokens(std::move(tokens), dropped, plan_->request.change);
  return std::move(plan_->request);
}

}  // namespace mtm
