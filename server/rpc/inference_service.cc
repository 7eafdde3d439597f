// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/inference_service.h"

#include <utility>

#include "server/rpc/convert.h"
#include "server/rpc/field_errors.h"
#include "server/rpc/generate.h"
#include "server/rpc/unary.h"
#include "server/rpc/validate_tokens.h"

namespace mtm {
namespace {

// A text up to this size is tokenized within milliseconds, on the thread that brought it.
constexpr size_t kShortText = 64 * 1024;

absl::Status NoTokenizer() { return absl::FailedPreconditionError("this model has no tokenizer"); }

absl::StatusOr<v1::TokenizeResponse> TokenizeText(const v1::TokenizeRequest& request,
                                                  const ModelInfo& model) {
  if (model.tokenizer == nullptr) return NoTokenizer();
  FieldErrors errors;
  const auto ids = EncodeText("text", request.text(), /*leading_newline=*/false, model, errors);
  if (!errors.empty()) return errors.ToStatus();
  v1::TokenizeResponse response;
  response.mutable_token_ids()->Add(ids.begin(), ids.end());
  return response;
}

absl::StatusOr<v1::DetokenizeResponse> DetokenizeIds(const v1::DetokenizeRequest& request,
                                                     const ModelInfo& model) {
  if (model.tokenizer == nullptr) return NoTokenizer();
  FieldErrors errors;
  CheckTokenIds("token_ids", SpanOf(request.token_ids()), 0, model.config, errors);
  if (!errors.empty()) return errors.ToStatus();
  v1::DetokenizeResponse response;
  response.set_text(model.tokenizer->Decode(SpanOf(request.token_ids())));
  return response;
}

v1::Model DescribeModel(const Backend& backend) {
  const ModelConfig& config = backend.info.config;
  v1::Model model;
  model.set_name(backend.model_name);
  model.set_fingerprint(backend.info.fingerprint);
  model.set_layer_count(config.n_layer);
  model.set_head_count(config.n_head);
  model.set_embedding_dim(config.n_embd);
  model.set_context_length(config.n_ctx);
  model.set_vocabulary_size(config.vocab_size);
  model.set_parameter_count(backend.model.parameter_count());
  model.set_has_tokenizer(backend.info.tokenizer != nullptr);
  if (config.end_of_text) model.set_end_of_text_token(*config.end_of_text);
  model.set_device(backend.model.device());
  model.set_weight_type(ToProto(backend.model.weight_type()));
  for (int layer : config.default_layers()) model.add_default_layers(layer);
  model.set_server_version(MTM_VERSION);
  return model;
}

}  // namespace

grpc::ServerUnaryReactor* InferenceService::Generate(grpc::CallbackServerContext* context,
                                                     const grpc::ByteBuffer* request,
                                                     grpc::ByteBuffer* response) {
  return mtm::Generate(backend_, *context, *request, response);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* InferenceService::StreamGenerate(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) {
  return mtm::StreamGenerate(backend_, *context, *request);
}

grpc::ServerUnaryReactor* InferenceService::Score(grpc::CallbackServerContext* context,
                                                  const grpc::ByteBuffer* request,
                                                  grpc::ByteBuffer* response) {
  return mtm::Score(backend_, *context, *request, response);
}

grpc::ServerUnaryReactor* InferenceService::Tokenize(grpc::CallbackServerContext* context,
                                                     const grpc::ByteBuffer* request,
                                                     grpc::ByteBuffer* response) {
  auto call = backend_.calls.Begin("Tokenize", *context);
  const auto answer = [&model = backend_.info](const v1::TokenizeRequest& message, RpcCall&) {
    return TokenizeText(message, model);
  };
  if (request->Length() <= kShortText) {
    return AnswerNow<v1::TokenizeRequest>(std::move(call), request, response, answer);
  }
  return AnswerOn<v1::TokenizeRequest>(backend_.worker, std::move(call), request, response, answer);
}

grpc::ServerUnaryReactor* InferenceService::Detokenize(grpc::CallbackServerContext* context,
                                                       const grpc::ByteBuffer* request,
                                                       grpc::ByteBuffer* response) {
  return AnswerNow<v1::DetokenizeRequest>(backend_.calls.Begin("Detokenize", *context), request, response,
                                          [this](const v1::DetokenizeRequest& message, RpcCall&) {
                                            return DetokenizeIds(message, backend_.info);
                                          });
}

grpc::ServerUnaryReactor* InferenceService::GetModel(grpc::CallbackServerContext* context,
                                                     const grpc::ByteBuffer* request,
                                                     grpc::ByteBuffer* response) {
  return AnswerNow<v1::GetModelRequest>(backend_.calls.Begin("GetModel", *context), request, response,
                                        [this](const v1::GetModelRequest&, RpcCall&) {
                                          return absl::StatusOr<v1::Model>(DescribeModel(backend_));
                                        });
}

}  // namespace mtm
