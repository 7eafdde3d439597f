// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/memory_upload.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/rpc/field_errors.h"
#include "server/rpc/validate_tokens.h"

namespace mtm {
namespace {

absl::Status FieldError(const std::string& field, const std::string& description) {
  FieldErrors errors;
  errors.Add(field, description);
  return errors.ToStatus();
}

}  // namespace

MemoryUpload::MemoryUpload(const ModelInfo& model, const MemoryStore& store, int64_t max_bytes)
    : model_(model), store_(store), max_bytes_(max_bytes) {}

absl::Status MemoryUpload::Add(const v1::CreateMemoryRequest& message) {
  if (!plan_ && !message.has_spec())
    return FieldError("spec", "is missing; the first message must be `spec`");
  switch (message.part_case()) {
    case v1::CreateMemoryRequest::kSpec:
      return AddSpec(message.spec());
    case v1::CreateMemoryRequest::kText:
      return AddText(message.text());
    case v1::CreateMemoryRequest::kTokenIds:
      return AddTokenIds(message.token_ids());
    case v1::CreateMemoryRequest::PART_NOT_SET:
      break;
  }
  return FieldError("part", "is missing; must be `text` or `token_ids`");
}

absl::Status MemoryUpload::AddSpec(const v1::CreateMemoryRequest::Spec& spec) {
  if (plan_) return FieldError("spec", "came before; only the first message is `spec`");
  FieldErrors errors;
  MemoryPlan plan = ReadMemorySpec(spec, model_.config, errors);
  if (!errors.empty()) return errors.ToStatus();
  // Known before the text is sent. The store checks again when the memory is done.
  const auto existing = store_.Get(plan.name);
  if (existing.ok() || absl::IsDataLoss(existing.status())) {
    return absl::AlreadyExistsError(absl::StrCat("spec.name: there is a memory ", plan.name, " already",
                                                 existing.ok() ? "" : ", a damaged one; delete it first"));
  }
  plan_ = std::move(plan);
  return absl::OkStatus();
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

absl::StatusOr<MemoryRequest> MemoryUpload::Finish() {
  if (!plan_) return FieldError("spec", "is missing; the first message must be `spec`");
  const bool is_text = ids_.empty();
  if (is_text && text_.empty()) return FieldError("text", "is empty; a memory holds at least one token");
  std::vector<int32_t> tokens = std::move(ids_);
  if (is_text) {
    FieldErrors errors;
    tokens = EncodeText("text", text_, plan_->leading_newline, model_, errors);
    if (!errors.empty()) return errors.ToStatus();
  }
  const int dropped = plan_->dropped_tokens(is_text);
  if (std::cmp_less_equal(tokens.size(), dropped)) {
    return FieldError(is_text ? "text" : "token_ids",
                      absl::StrCat("has ", tokens.size(), " tokens, of which the first ", dropped,
                                   " are dropped; a memory holds at least one token"));
  }
  const auto first = tokens.begin() + dropped;
  return MemoryRequest{.name = std::move(plan_->name),
                       .leading = {tokens.begin(), first},
                       .tokens = {first, tokens.end()},
                       .layers = std::move(plan_->layers)};
}

}  // namespace mtm
