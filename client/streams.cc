// SPDX-License-Identifier: Apache-2.0
// The calls of Client that stream.
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "client/call.h"
#include "client/client.h"

namespace mtm::client {
namespace {

constexpr size_t kChunkBytes = 64 << 10;

using CreateStream = grpc::ClientReaderWriter<v1::CreateMemoryRequest, v1::CreateMemoryResponse>;

v1::CreateMemoryRequest ToRequest(MemoryPart part) {
  v1::CreateMemoryRequest request;
  if (auto* text = std::get_if<std::string>(&part)) {
    request.set_text(std::move(*text));
  } else {
    const auto& ids = std::get<std::vector<int32_t>>(part);
    request.mutable_token_ids()->mutable_ids()->Add(ids.begin(), ids.end());
  }
  return request;
}

// Sends the spec and all that `reader` gives. OK too where the server stopped listening: its status says why.
absl::Status Send(const v1::CreateMemoryRequest::Spec& spec, const MemoryReader& reader, std::stop_token stop,
                  CreateStream& stream) {
  v1::CreateMemoryRequest first;
  *first.mutable_spec() = spec;
  if (!stream.Write(first)) return absl::OkStatus();
  while (!stop.stop_requested()) {
    auto part = reader(stop);
    if (stop.stop_requested()) break;  // what the reader says then is only that it stopped
    if (!part.ok()) return part.status();
    if (!part->has_value()) {
      stream.WritesDone();
      break;
    }
    if (!stream.Write(ToRequest(*std::move(*part)))) break;
  }
  return absl::OkStatus();
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

absl::StatusOr<v1::Memory> Client::Remember(const v1::CreateMemoryRequest::Spec& spec,
                                            const MemoryReader& reader, const ProgressCallback& progress,
                                            const CallOptions& call_options) {
  Call call(address_, call_options);
  const auto stream = memories_->CreateMemory(&call.context());
  absl::Status sent;
  std::jthread sender([&](std::stop_token stop) {
    sent = Send(spec, reader, std::move(stop), *stream);
    // Half a text must not become a memory.
    if (!sent.ok()) call.context().TryCancel();
  });
  const std::stop_callback stop_sender(call_options.stop, [&sender] { sender.request_stop(); });

  std::optional<v1::Memory> memory;
  for (v1::CreateMemoryResponse response; stream->Read(&response);) {
    if (response.has_memory()) {
      memory = std::move(*response.mutable_memory());
    } else if (response.has_progress() && progress) {
      progress(response.progress());
    }
  }
  sender.request_stop();
  sender.join();
  const absl::Status status = call.Finish(stream->Finish());
  if (!sent.ok()) return sent;
  if (!status.ok()) return status;
  if (!memory) return absl::InternalError("the server ended without a memory");
  return *std::move(memory);
}

absl::Status Client::StreamGenerate(const v1::GenerateRequest& request, const EventCallback& callback,
                                    const CallOptions& call_options) {
  Call call(address_, call_options);
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

}  // namespace mtm::client
