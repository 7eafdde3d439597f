// SPDX-License-Identifier: Apache-2.0
// The calls of Client that make, change and forget with the model.
#include <deque>
#include <optional>
#include <thread>
#include <utility>

#include "client/call.h"
#include "client/client.h"
#include "client/events.h"
#include "client/request_id.h"

namespace mtm::client {
namespace {

constexpr size_t kChunkBytes = 64 << 10;

template <typename Request>
Request ToRequest(const MemoryPart& part) {
  Request request;
  if (const auto* text = std::get_if<std::string>(&part)) {
    request.set_text(*text);
  } else {
    const auto& ids = std::get<std::vector<int32_t>>(part);
    request.mutable_token_ids()->mutable_ids()->Add(ids.begin(), ids.end());
  }
  return request;
}

// Gives what a reader gave to each attempt from the beginning.
class Replay {
 public:
  explicit Replay(const MemoryReader& reader) : reader_(reader) {}

  void Rewind() { next_ = 0; }

  // Null at the end.
  absl::StatusOr<const MemoryPart*> Next(const std::stop_token& stop) {
    if (next_ == parts_.size() && !ended_) {
      auto part = reader_(stop);
      if (!part.ok()) return part.status();
      ended_ = !part->has_value();
      if (!ended_) parts_.push_back(**std::move(part));
    }
    return next_ < parts_.size() ? &parts_[next_++] : nullptr;
  }

 private:
  const MemoryReader& reader_;
  std::deque<MemoryPart> parts_;
  size_t next_ = 0;
  bool ended_ = false;
};

template <typename Request>
using WriteStream = grpc::ClientReaderWriter<Request, v1::WriteMemoryResponse>;

// Sends the spec and the whole text. OK too where the server stopped listening: its status says why.
template <typename Request>
absl::Status Send(const Request& spec, Replay& parts, std::stop_token stop, WriteStream<Request>& stream) {
  if (!stream.Write(spec)) return absl::OkStatus();
  while (!stop.stop_requested()) {
    const auto part = parts.Next(stop);
    if (stop.stop_requested()) break;  // what the reader says then is only that it stopped
    if (!part.ok()) return part.status();
    if (*part == nullptr) {
      stream.WritesDone();
      break;
    }
    if (!stream.Write(ToRequest<Request>(**part))) break;
  }
  return absl::OkStatus();
}

// One attempt: sends on a thread of its own, since the server may answer at any time.
template <typename Request>
absl::Status UploadOnce(const Request& spec, Replay& parts, const ProgressCallback& progress,
                        const std::stop_token& stop, WriteStream<Request>& stream, Call& call,
                        std::optional<v1::WriteMemoryResponse>& last) {
  absl::Status sent;
  std::jthread sender([&](std::stop_token stop_sender) {
    sent = Send(spec, parts, std::move(stop_sender), stream);
    // Half a text must not become a memory.
    if (!sent.ok()) call.context().TryCancel();
  });
  {
    const std::stop_callback stop_sender(stop, [&sender] { sender.request_stop(); });
    last = ReadEvents<v1::WriteMemoryResponse>(stream, progress);
  }
  sender.request_stop();
  sender.join();
  const absl::Status status = call.Finish(stream.Finish());
  return sent.ok() ? Ended(status, last) : sent;
}

// `open` begins the call.
template <typename Request, typename Open>
absl::StatusOr<v1::WriteMemoryResponse> Upload(const ClientOptions& options, const CallOptions& call_options,
                                               Request spec, const MemoryReader& reader,
                                               const ProgressCallback& progress, const Open& open) {
  v1::WriteOptions& write = *spec.mutable_spec()->mutable_options();
  EnsureRequestId(write);
  Replay parts(reader);
  std::optional<v1::WriteMemoryResponse> last;
  absl::Status status = CallWithRetries(options, call_options, [&](Call& call) {
    parts.Rewind();
    const auto stream = open(&call.context());
    return UploadOnce(spec, parts, progress, call_options.stop, *stream, call, last);
  });
  if (!status.ok()) return status;
  return *std::move(last);
}

}  // namespace

MemoryReader TextReader(std::istream& stream) {
  return [&stream](std::stop_token) -> absl::StatusOr<std::optional<MemoryPart>> {
    std::string chunk(kChunkBytes, '\0');
    stream.read(chunk.data(), static_cast<std::streamsize>(chunk.size()));
    if (stream.bad()) return absl::UnknownError("the text cannot be read to its end");
    chunk.resize(static_cast<size_t>(stream.gcount()));
    if (chunk.empty()) return std::nullopt;
    return MemoryPart(std::move(chunk));
  };
}

absl::StatusOr<v1::WriteMemoryResponse> Client::CreateMemory(v1::CreateMemoryRequest::Spec spec,
                                                             const MemoryReader& reader,
                                                             const ProgressCallback& progress,
                                                             const CallOptions& call) {
  v1::CreateMemoryRequest request;
  *request.mutable_spec() = std::move(spec);
  return Upload(options_, call, std::move(request), reader, progress,
                [this](grpc::ClientContext* context) { return memories_->CreateMemory(context); });
}

absl::StatusOr<v1::WriteMemoryResponse> Client::ReplaceMemory(v1::CreateMemoryRequest::Spec spec,
                                                              const MemoryReader& reader,
                                                              const ProgressCallback& progress,
                                                              const CallOptions& call) {
  v1::CreateMemoryRequest request;
  *request.mutable_spec() = std::move(spec);
  return Upload(options_, call, std::move(request), reader, progress,
                [this](grpc::ClientContext* context) { return memories_->ReplaceMemory(context); });
}

absl::StatusOr<v1::WriteMemoryResponse> Client::AppendToMemory(v1::AppendToMemoryRequest::Spec spec,
                                                               const MemoryReader& reader,
                                                               const ProgressCallback& progress,
                                                               const CallOptions& call) {
  v1::AppendToMemoryRequest request;
  *request.mutable_spec() = std::move(spec);
  return Upload(options_, call, std::move(request), reader, progress,
                [this](grpc::ClientContext* context) { return memories_->AppendToMemory(context); });
}

absl::StatusOr<v1::WriteMemoryResponse> Client::ForgetFromMemory(v1::ForgetFromMemoryRequest request,
                                                                 const ProgressCallback& progress,
                                                                 const CallOptions& call) {
  v1::WriteOptions& write = *request.mutable_options();
  EnsureRequestId(write);
  return Follow<v1::WriteMemoryResponse>(options_, call, progress, [&](grpc::ClientContext* context) {
    return memories_->ForgetFromMemory(context, request);
  });
}

absl::StatusOr<v1::WriteMemoryResponse> Client::WatchWrite(const std::string& request_id,
                                                           const ProgressCallback& progress,
                                                           const CallOptions& call) {
  v1::WatchWriteRequest request;
  request.set_request_id(request_id);
  return Follow<v1::WriteMemoryResponse>(options_, call, progress, [&](grpc::ClientContext* context) {
    return memories_->WatchWrite(context, request);
  });
}

}  // namespace mtm::client
