// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/validate_memory.h"

#include <numeric>
#include <vector>

#include "absl/strings/str_cat.h"
#include "memory_store/memory_name.h"
#include "server/rpc/validate_change.h"
#include "server/rpc/validate_uses.h"

namespace mtm {
namespace {

constexpr size_t kMaxSourceBytes = 256;

std::vector<int> ReadLayersToKeep(const v1::CreateMemoryRequest::Spec& spec, const ModelConfig& config,
                                  FieldErrors& errors) {
  if (!spec.layers().empty()) return ReadLayers("spec.layers", spec.layers(), config.n_layer, errors);
  std::vector<int> all(static_cast<size_t>(config.n_layer));
  std::iota(all.begin(), all.end(), 1);
  return all;
}

DataType ReadDataType(const std::string& field, v1::DataType type, FieldErrors& errors) {
  if (type == v1::DATA_TYPE_F16) return DataType::kF16;
  if (type != v1::DATA_TYPE_F32 && type != v1::DATA_TYPE_UNSPECIFIED) {
    errors.Add(field,
               absl::StrCat("is ", static_cast<int>(type), "; must be DATA_TYPE_F32 or DATA_TYPE_F16"));
  }
  return DataType::kF32;
}

void CheckSource(const std::string& field, const std::string& source, FieldErrors& errors) {
  if (source.size() <= kMaxSourceBytes) return;
  errors.Add(field, absl::StrCat("has ", source.size(), " bytes; at most ", kMaxSourceBytes));
}

void ReadOptions(const std::string& field, const v1::WriteOptions& options, WriteRequest& request,
                 FieldErrors& errors) {
  CheckRequestId(field + ".request_id", options.request_id(), errors);
  if (options.detached() && options.request_id().empty()) {
    errors.Add(field + ".request_id", "is missing; a detached write is found again by it");
  }
  request.request_id = options.request_id();
  request.detached = options.detached();
}

ForgottenContent ReadContent(const v1::ForgetFromMemoryRequest& request, FieldErrors& errors) {
  switch (request.content_case()) {
    case v1::ForgetFromMemoryRequest::kTokens:
      CheckNumber("tokens.first", static_cast<double>(request.tokens().first()), Range{0}, errors);
      CheckNumber("tokens.count", static_cast<double>(request.tokens().count()), Range{1}, errors);
      return TokenRange{request.tokens().first(), request.tokens().count()};
    case v1::ForgetFromMemoryRequest::kText:
      if (request.text().empty()) errors.Add("text", "is empty; must hold at least one character");
      return ForgottenText{request.text()};
    case v1::ForgetFromMemoryRequest::kSource:
      CheckSource("source", request.source(), errors);
      return ForgottenSource{request.source()};
    case v1::ForgetFromMemoryRequest::CONTENT_NOT_SET:
      break;
  }
  errors.Add("content", "is missing; set `tokens`, `text` or `source`");
  return {};
}

}  // namespace

UploadPlan ReadSpec(const v1::CreateMemoryRequest::Spec& spec, bool replace, const ModelConfig& config,
                    FieldErrors& errors) {
  UploadPlan plan;
  CheckName("spec.name", spec.name(), errors);
  CreateRequest create{.name = spec.name(), .layers = ReadLayersToKeep(spec, config, errors)};
  if (spec.has_dropped_token_count()) {
    plan.dropped = spec.dropped_token_count();
    CheckNumber("spec.dropped_token_count", spec.dropped_token_count(),
                Range{.low = 0, .high = static_cast<double>(config.n_ctx - 1)}, errors);
  }
  if (spec.has_leading_newline()) plan.leading_newline = spec.leading_newline();
  create.dtype = ReadDataType("spec.data_type", spec.data_type(), errors);
  create.source = spec.source();
  CheckSource("spec.source", spec.source(), errors);
  create.replace = replace;
  if (!spec.labels().empty()) create.labels = ReadLabels("spec.labels", spec.labels(), errors);
  if (spec.has_metadata()) create.metadata = ReadMetadata("spec.metadata", spec.metadata(), errors);
  plan.request.change = std::move(create);
  ReadOptions("spec.options", spec.options(), plan.request, errors);
  return plan;
}

UploadPlan ReadSpec(const v1::AppendToMemoryRequest::Spec& spec, FieldErrors& errors) {
  UploadPlan plan{.dropped = 0, .leading_newline = false};
  CheckMemoryReference("spec.name", spec.name(), errors);
  CheckSource("spec.source", spec.source(), errors);
  plan.request.change = AppendRequest{.memory = spec.name(), .source = spec.source()};
  ReadOptions("spec.options", spec.options(), plan.request, errors);
  return plan;
}

WriteRequest ReadForget(const v1::ForgetFromMemoryRequest& request, FieldErrors& errors) {
  WriteRequest write;
  CheckMemoryReference("name", request.name(), errors);
  write.change = ForgetRequest{.memory = request.name(),
                               .content = ReadContent(request, errors),
                               .purge_older_versions = request.purge_older_versions()};
  ReadOptions("options", request.options(), write, errors);
  return write;
}

void CheckMemoryReference(const std::string& field, std::string_view reference, FieldErrors& errors) {
  const absl::Status status = ParseMemoryReference(reference).status();
  if (!status.ok()) errors.Add(field, std::string(status.message()));
}

}  // namespace mtm
