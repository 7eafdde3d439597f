// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_CLIENT_H_
#define MTM_CLIENT_CLIENT_H_

#include <cstdint>
#include <functional>
#include <istream>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "grpcpp/channel.h"
#include "grpcpp/security/credentials.h"
#include "mtm/v1/inference_service.grpc.pb.h"
#include "mtm/v1/memory_service.grpc.pb.h"

namespace mtm::client {

struct ClientOptions {
  // host:port, or anything else that gRPC resolves, as unix:/run/mtm.sock.
  std::string address = "127.0.0.1:50051";

  // Null: without TLS.
  std::shared_ptr<grpc::ChannelCredentials> credentials;

  // How often a read that changes nothing is tried while the server is unavailable. 1..5.
  int max_attempts = 4;
};

struct CallOptions {
  // For the whole call, streams too. DEADLINE_EXCEEDED past it.
  absl::Duration timeout = absl::InfiniteDuration();

  // Ends the call within moments; it returns CANCELLED.
  std::stop_token stop;
};

// A part of what a memory is made of: UTF-8 text, which may end within a character, or token ids.
using MemoryPart = std::variant<std::string, std::vector<int32_t>>;

// Gives the next part, nothing at the end, or an error, which undoes the memory and is what Remember returns.
// Called on another thread than Remember's. A reader that can wait long returns soon once a stop is
// requested: the server has refused, or the call was cancelled.
using MemoryReader = std::function<absl::StatusOr<std::optional<MemoryPart>>(std::stop_token)>;

// Reads text in chunks. The stream outlives the reader.
MemoryReader TextReader(std::istream& stream);

// Called on the thread that called Remember.
using ProgressCallback = std::function<void(const v1::CreateMemoryResponse::Progress&)>;

// Returns false to stop, which makes the call return CANCELLED. Called on the thread that called
// StreamGenerate.
using EventCallback = std::function<bool(const v1::StreamGenerateResponse&)>;

// A connection to an mtm server. Errors are those of the rpc in proto/mtm/v1, with the field violations that
// FieldViolations reads; UNAVAILABLE names the address. GetModel, GetMemory, ListMemories, Score, Tokenize
// and Detokenize are tried again while the server is unavailable. Thread-safe: calls run side by side over
// one connection.
class Client {
 public:
  // Connects with the first call, not here.
  explicit Client(const ClientOptions& options = {});

  absl::StatusOr<v1::Model> GetModel(const CallOptions& call = {});

  // Sends what `reader` gives and returns the finished memory. Unless it is OK, nothing is made.
  absl::StatusOr<v1::Memory> Remember(const v1::CreateMemoryRequest::Spec& spec, const MemoryReader& reader,
                                      const ProgressCallback& progress = nullptr,
                                      const CallOptions& call = {});

  absl::StatusOr<v1::ListMemoriesResponse> ListMemories(const CallOptions& call = {});

  // `reference` is a name or name@digest.
  absl::StatusOr<v1::Memory> GetMemory(const std::string& reference, const CallOptions& call = {});
  absl::Status DeleteMemory(const std::string& reference, const CallOptions& call = {});

  absl::StatusOr<v1::GenerateResponse> Generate(const v1::GenerateRequest& request,
                                                const CallOptions& call = {});

  // Calls back for each event as it comes. OK once `finished` has come.
  absl::Status StreamGenerate(const v1::GenerateRequest& request, const EventCallback& callback,
                              const CallOptions& call = {});

  absl::StatusOr<v1::ScoreResponse> Score(const v1::ScoreRequest& request, const CallOptions& call = {});
  absl::StatusOr<std::vector<int32_t>> Tokenize(std::string_view text, const CallOptions& call = {});
  absl::StatusOr<std::string> Detokenize(std::span<const int32_t> token_ids, const CallOptions& call = {});

 private:
  std::string address_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::InferenceService::Stub> inference_;
  std::unique_ptr<v1::MemoryService::Stub> memories_;
};

}  // namespace mtm::client

#endif  // MTM_CLIENT_CLIENT_H_
