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

  // Of MakeCredentials in connection.h, for TLS and tokens. Null: neither.
  std::shared_ptr<grpc::ChannelCredentials> credentials;

  // How often a call is made while the server is unavailable. 1 to 5.
  int max_attempts = 4;

  // Between the first two attempts, give or take a fifth; three times as long each time after.
  absl::Duration first_retry_delay = absl::Milliseconds(250);

  // Called before each wait for another attempt of a call with a stream, but of StreamGenerate, on the thread
  // of the call: what went wrong, and for how long it waits.
  std::function<void(const absl::Status&, absl::Duration)> on_retry;
};

struct CallOptions {
  // For the whole call, streams and further attempts too. DEADLINE_EXCEEDED past it.
  absl::Duration timeout = absl::InfiniteDuration();

  // Ends the call within moments; it returns CANCELLED.
  std::stop_token stop;
};

// A part of what a memory is made of: UTF-8 text, which may end within a character, or token ids.
using MemoryPart = std::variant<std::string, std::vector<int32_t>>;

// Gives the next part, nothing at the end, or an error, which undoes the write and is what it returns.
// Called on another thread than the write. A reader that can wait long returns soon once a stop is
// requested: the server has refused, or the call was cancelled; what it has not returned then, it returns
// when it is called again.
using MemoryReader = std::function<absl::StatusOr<std::optional<MemoryPart>>(std::stop_token)>;

// Reads text in chunks. The stream outlives the reader.
MemoryReader TextReader(std::istream& stream);

// How far a write (in tokens), a check or a transfer (in bytes) is. A total of 0 is unknown. Called on the
// calling thread.
using ProgressCallback = std::function<void(int64_t done, int64_t total)>;

// Return false to stop, which makes the call return CANCELLED. Called on the calling thread.
using EventCallback = std::function<bool(const v1::StreamGenerateResponse&)>;
using WatchCallback = std::function<bool(const v1::WatchMemoriesResponse&)>;

// Takes the next bytes of an export. An error ends the call, which returns it.
using DataSink = std::function<absl::Status(std::string_view)>;

// Gives some of the bytes from `offset` on, at most 1 MiB; none at the end.
using DataSource = std::function<absl::StatusOr<std::string>(int64_t offset)>;

// A connection to an mtm server. Errors are those of the rpc in proto/mtm/v1, with the field violations that
// FieldViolations reads; UNAVAILABLE names the address.
//
// A call that ends with UNAVAILABLE is made again, up to ClientOptions.max_attempts times. A write does
// nothing twice by that: it gets a request id where it has none, a random UUID. Excepted are StreamGenerate
// and WatchMemories once something has come.
//
// Thread-safe: calls run side by side over one connection.
class Client {
 public:
  // Connects with the first call, not here.
  explicit Client(const ClientOptions& options = {});

  absl::StatusOr<v1::Model> GetModel(const CallOptions& call = {});

  absl::StatusOr<v1::GenerateResponse> Generate(const v1::GenerateRequest& request,
                                                const CallOptions& call = {});

  // Calls back for each event as it comes. OK once `finished` has come.
  absl::Status StreamGenerate(const v1::GenerateRequest& request, const EventCallback& callback,
                              const CallOptions& call = {});

  absl::StatusOr<v1::ScoreResponse> Score(const v1::ScoreRequest& request, const CallOptions& call = {});
  absl::StatusOr<std::vector<int32_t>> Tokenize(std::string_view text, const CallOptions& call = {});
  absl::StatusOr<std::string> Detokenize(std::span<const int32_t> token_ids, const CallOptions& call = {});

  // ---- Writes that run the model. They send what `reader` gives, which is kept until the end, for further
  // attempts, and return the last event: `memory`, or `accepted` where the write is detached. Otherwise,
  // unless it is OK, nothing was changed; after UNAVAILABLE and DEADLINE_EXCEEDED it may have been:
  // WatchWrite tells.
  absl::StatusOr<v1::WriteMemoryResponse> CreateMemory(v1::CreateMemoryRequest::Spec spec,
                                                       const MemoryReader& reader,
                                                       const ProgressCallback& progress = nullptr,
                                                       const CallOptions& call = {});
  absl::StatusOr<v1::WriteMemoryResponse> ReplaceMemory(v1::CreateMemoryRequest::Spec spec,
                                                        const MemoryReader& reader,
                                                        const ProgressCallback& progress = nullptr,
                                                        const CallOptions& call = {});
  absl::StatusOr<v1::WriteMemoryResponse> AppendToMemory(v1::AppendToMemoryRequest::Spec spec,
                                                         const MemoryReader& reader,
                                                         const ProgressCallback& progress = nullptr,
                                                         const CallOptions& call = {});
  absl::StatusOr<v1::WriteMemoryResponse> ForgetFromMemory(v1::ForgetFromMemoryRequest request,
                                                           const ProgressCallback& progress = nullptr,
                                                           const CallOptions& call = {});
  // Waits for the end of a write.
  absl::StatusOr<v1::WriteMemoryResponse> WatchWrite(const std::string& request_id,
                                                     const ProgressCallback& progress = nullptr,
                                                     const CallOptions& call = {});

  // ---- Other writes.
  absl::StatusOr<v1::Memory> RollbackMemory(v1::RollbackMemoryRequest request, const CallOptions& call = {});
  absl::StatusOr<v1::Memory> CopyMemory(v1::CopyMemoryRequest request, const CallOptions& call = {});
  absl::StatusOr<v1::Memory> UpdateMemory(const v1::UpdateMemoryRequest& request,
                                          const CallOptions& call = {});
  absl::Status DeleteMemory(const std::string& reference, const CallOptions& call = {});

  // ---- Reading. `reference` is a name or name@digest.
  absl::StatusOr<v1::Memory> GetMemory(const std::string& reference, const CallOptions& call = {});
  // By name, all pages.
  absl::StatusOr<std::vector<v1::Memory>> ListMemories(const v1::MemoryFilter& filter = {},
                                                       const CallOptions& call = {});
  // Calls back for each event as it comes, until it is stopped or the connection is lost.
  absl::Status WatchMemories(const v1::MemoryFilter& filter, const WatchCallback& callback,
                             const CallOptions& call = {});

  absl::StatusOr<v1::Memory> LoadMemory(const std::string& reference, const CallOptions& call = {});
  absl::StatusOr<v1::Memory> UnloadMemory(const std::string& name, const CallOptions& call = {});
  absl::StatusOr<v1::Memory> VerifyMemory(const std::string& reference,
                                          const ProgressCallback& progress = nullptr,
                                          const CallOptions& call = {});
  absl::StatusOr<v1::Memory> RebuildIndex(const std::string& name, const ProgressCallback& progress = nullptr,
                                          const CallOptions& call = {});

  // ---- Between servers.
  // Gives `sink` the bytes from `offset` on; where the connection is lost, goes on from there. `progress`
  // counts from the version's first byte. A reference that is meant to be taken up later has its digest.
  absl::Status ExportMemory(const std::string& reference, int64_t offset, const DataSink& sink,
                            const ProgressCallback& progress = nullptr, const CallOptions& call = {});
  // Sends the bytes that the server does not have yet.
  absl::StatusOr<v1::Memory> ImportMemory(v1::ImportMemoryRequest::Spec spec, const DataSource& source,
                                          const ProgressCallback& progress = nullptr,
                                          const CallOptions& call = {});

 private:
  ClientOptions options_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::InferenceService::Stub> inference_;
  std::unique_ptr<v1::MemoryService::Stub> memories_;
};

}  // namespace mtm::client

#endif  // MTM_CLIENT_CLIENT_H_
