// SPDX-License-Identifier: Apache-2.0
#include "client/client.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/call.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/support/channel_arguments.h"

namespace mtm::client {
namespace {

// Only calls that change nothing and come back whole may be sent twice.
std::string RetryServiceConfig(int max_attempts) {
  return absl::StrCat(R"({"methodConfig": [{
    "name": [
      {"service": "mtm.v1.InferenceService", "method": "GetModel"},
      {"service": "mtm.v1.InferenceService", "method": "Score"},
      {"service": "mtm.v1.InferenceService", "method": "Tokenize"},
      {"service": "mtm.v1.InferenceService", "method": "Detokenize"},
      {"service": "mtm.v1.MemoryService", "method": "GetMemory"},
      {"service": "mtm.v1.MemoryService", "method": "ListMemories"}],
    "retryPolicy": {
      "maxAttempts": )",
                      max_attempts, R"(,
      "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 3,
      "retryableStatusCodes": ["UNAVAILABLE"]}}]})");
}

bool IsLoopback(const std::string& address) {
  return absl::StartsWith(address, "127.") || absl::StartsWith(address, "localhost") ||
         absl::StartsWith(address, "[::1]");
}

std::shared_ptr<grpc::Channel> MakeChannel(const ClientOptions& options) {
  grpc::ChannelArguments arguments;
  // A long trace passes gRPC's 4 MiB, and the server is trusted with more than memory.
  arguments.SetMaxReceiveMessageSize(-1);
  if (options.max_attempts > 1) arguments.SetServiceConfigJSON(RetryServiceConfig(options.max_attempts));
  // gRPC would ask the proxy that http_proxy names for this machine's own port.
  if (IsLoopback(options.address)) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(
      options.address, options.credentials ? options.credentials : grpc::InsecureChannelCredentials(),
      arguments);
}

template <typename Stub, typename Request, typename Response>
absl::StatusOr<Response> Unary(Stub& stub,
                               grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                               const Request& request, Call&& call) {
  Response response;
  absl::Status status = call.Finish((stub.*method)(&call.context(), request, &response));
  if (!status.ok()) return status;
  return response;
}

}  // namespace

Client::Client(const ClientOptions& options)
    : address_(options.address),
      channel_(MakeChannel(options)),
      inference_(v1::InferenceService::NewStub(channel_)),
      memories_(v1::MemoryService::NewStub(channel_)) {}

absl::StatusOr<v1::Model> Client::GetModel(const CallOptions& call) {
  return Unary(*inference_, &v1::InferenceService::Stub::GetModel, v1::GetModelRequest(),
               Call(address_, call));
}

absl::StatusOr<v1::ListMemoriesResponse> Client::ListMemories(const CallOptions& call) {
  return Unary(*memories_, &v1::MemoryService::Stub::ListMemories, v1::ListMemoriesRequest(),
               Call(address_, call));
}

absl::StatusOr<v1::Memory> Client::GetMemory(const std::string& reference, const CallOptions& call) {
  v1::GetMemoryRequest request;
  request.set_name(reference);
  return Unary(*memories_, &v1::MemoryService::Stub::GetMemory, request, Call(address_, call));
}

absl::Status Client::DeleteMemory(const std::string& reference, const CallOptions& call) {
  v1::DeleteMemoryRequest request;
  request.set_name(reference);
  return Unary(*memories_, &v1::MemoryService::Stub::DeleteMemory, request, Call(address_, call)).status();
}

absl::StatusOr<v1::GenerateResponse> Client::Generate(const v1::GenerateRequest& request,
                                                      const CallOptions& call) {
  return Unary(*inference_, &v1::InferenceService::Stub::Generate, request, Call(address_, call));
}

absl::StatusOr<v1::ScoreResponse> Client::Score(const v1::ScoreRequest& request, const CallOptions& call) {
  return Unary(*inference_, &v1::InferenceService::Stub::Score, request, Call(address_, call));
}

absl::StatusOr<std::vector<int32_t>> Client::Tokenize(std::string_view text, const CallOptions& call) {
  v1::TokenizeRequest request;
  request.set_text(std::string(text));
  const auto response =
      Unary(*inference_, &v1::InferenceService::Stub::Tokenize, request, Call(address_, call));
  if (!response.ok()) return response.status();
  return std::vector<int32_t>(response->token_ids().begin(), response->token_ids().end());
}

absl::StatusOr<std::string> Client::Detokenize(std::span<const int32_t> token_ids, const CallOptions& call) {
  v1::DetokenizeRequest request;
  request.mutable_token_ids()->Add(token_ids.begin(), token_ids.end());
  const auto response =
      Unary(*inference_, &v1::InferenceService::Stub::Detokenize, request, Call(address_, call));
  if (!response.ok()) return response.status();
  return response->text();
}

}  // namespace mtm::client
