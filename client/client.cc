// SPDX-License-Identifier: Apache-2.0
// The connection, and the calls of InferenceService.
#include "client/client.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "client/call.h"
#include "client/connection.h"
#include "client/retries.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/support/channel_arguments.h"

namespace mtm::client {
namespace {

constexpr int kRetryBufferBytes = 64 << 20;

std::shared_ptr<grpc::Channel> MakeChannel(const ClientOptions& options) {
  grpc::ChannelArguments arguments;
  // A long trace passes gRPC's 4 MiB, and the server is trusted with more than memory.
  arguments.SetMaxReceiveMessageSize(-1);
  // A server that starts anew is found by the next attempt, not only after gRPC's own minute.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetServiceConfigJSON(ServiceConfig(options));
  // A request that is larger would not be kept for another attempt.
  arguments.SetInt(GRPC_ARG_PER_RPC_RETRY_BUFFER_SIZE, kRetryBufferBytes);
  // gRPC would ask the proxy that http_proxy names for this machine's own port.
  if (IsLoopback(options.address)) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(
      options.address, options.credentials ? options.credentials : grpc::InsecureChannelCredentials(),
      arguments);
}

}  // namespace

Client::Client(const ClientOptions& options)
    : options_(options),
      channel_(MakeChannel(options)),
      inference_(v1::InferenceService::NewStub(channel_)),
      memories_(v1::MemoryService::NewStub(channel_)) {}

absl::StatusOr<v1::Model> Client::GetModel(const CallOptions& call) {
  return Unary(options_, call, *inference_, &v1::InferenceService::Stub::GetModel, v1::GetModelRequest());
}

absl::StatusOr<v1::GenerateResponse> Client::Generate(const v1::GenerateRequest& request,
                                                      const CallOptions& call) {
  return Unary(options_, call, *inference_, &v1::InferenceService::Stub::Generate, request);
}

absl::Status Client::StreamGenerate(const v1::GenerateRequest& request, const EventCallback& callback,
                                    const CallOptions& call_options) {
  Call call(options_.address, call_options);
  AddMemoryHeader(call.context(), request);
  const auto stream = inference_->StreamGenerate(&call.context(), request);
  bool finished = false;
  for (v1::StreamGenerateResponse event; stream->Read(&event);) {
    finished = finished || event.has_finished();
    if (!callback(event)) {
      call.context().TryCancel();
      break;
    }
  }
  // Finish wants the stream read to its end.
  for (v1::StreamGenerateResponse rest; stream->Read(&rest);) {
  }
  const absl::Status status = call.Finish(stream->Finish());
  if (status.ok() && !finished) return absl::InternalError("the server ended before it finished");
  return status;
}

absl::StatusOr<v1::ScoreResponse> Client::Score(const v1::ScoreRequest& request, const CallOptions& call) {
  return Unary(options_, call, *inference_, &v1::InferenceService::Stub::Score, request);
}

absl::StatusOr<std::vector<int32_t>> Client::Tokenize(std::string_view text, const CallOptions& call) {
  v1::TokenizeRequest request;
  request.set_text(std::string(text));
  const auto response = Unary(options_, call, *inference_, &v1::InferenceService::Stub::Tokenize, request);
  if (!response.ok()) return response.status();
  return std::vector<int32_t>(response->token_ids().begin(), response->token_ids().end());
}

absl::StatusOr<std::string> Client::Detokenize(std::span<const int32_t> token_ids, const CallOptions& call) {
  v1::DetokenizeRequest request;
  request.mutable_token_ids()->Add(token_ids.begin(), token_ids.end());
  const auto response = Unary(options_, call, *inference_, &v1::InferenceService::Stub::Detokenize, request);
  if (!response.ok()) return response.status();
  return response->text();
}

}  // namespace mtm::client
