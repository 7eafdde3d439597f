// SPDX-License-Identifier: Apache-2.0
// The write rpcs whose text the client streams.
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <utility>

#include "server/generation/stop_reasons.h"
#include "server/rpc/memory_upload.h"
#include "server/rpc/write_memory.h"
#include "server/rpc/write_stream.h"

namespace mtm {
namespace {

using Reactor = grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;

class UploadStream final : public WriteStream<Reactor>, public std::enable_shared_from_this<UploadStream> {
 public:
  using WriteStream::WriteStream;

  void SetTarget(const std::string& reference) { SetMemory(reference); }

  // The client's stream has ended: its side was closed, or it went away. Which of the two, a write tells for
  // sure, so a first progress is sent and the work begins when it is through: half a text is never made a
  // memory.
  void Prepare(absl::StatusOr<WriteRequest> request) {
    if (!request.ok()) {
      Finish(request.status());
      return;
    }
    const auto total = std::visit([](const auto& change) { return CountTokens(change); }, request->change);
    {
      const std::lock_guard lock(mutex_);
      prepared_ = *std::move(request);
    }
    // The first message of the stream: it is begun at once, or not at all.
    WriteProgress(0, total, /*replaceable=*/false);
  }

  void OnWriteDone(bool ok) {
    std::optional<WriteRequest> request;
    {
      const std::lock_guard lock(mutex_);
      request.swap(prepared_);
    }
    WriteStream::OnWriteDone(ok);
    if (request && ok) BeginWrite(*std::move(request), shared_from_this());
  }

 private:
  template <typename Change>
  static int64_t CountTokens(const Change& change) {
    if constexpr (requires { change.tokens; }) return static_cast<int64_t>(change.tokens.size());
    return 0;
  }

  std::mutex mutex_;
  std::optional<WriteRequest> prepared_;  // under the mutex
};

// `Message`: CreateMemoryRequest or AppendToMemoryRequest.
template <typename Message>
class UploadReactor final : public StreamReactor<Reactor, UploadStream> {
 public:
  UploadReactor(std::string_view rpc, Backend& backend, grpc::CallbackServerContext& context,
                bool replace = false)
      : StreamReactor(backend.calls.Begin(rpc, context), backend),
        backend_(backend),
        upload_(std::make_shared<MemoryUpload>(backend.info, backend.max_text_bytes, replace)) {
    if (call().admission().ok()) {
      StartRead(&bytes_);
    } else {
      stream()->Finish(call().admission());
    }
  }

 private:
  void OnReadDone(bool ok) override {
    // gRPC reads in order, on changing threads; the lock is there to show that order to ThreadSanitizer.
    const std::lock_guard lock(mutex_);
    if (!ok) {
      backend_.worker.Run([stream = stream(), upload = upload_] {
        stream->Prepare(stream->finished() ? ClientLeft() : upload->Finish());
      });
      return;
    }
    const absl::Status status = TakeMessage();
    if (status.ok()) {
      StartRead(&bytes_);
    } else {
      stream()->Finish(status);
    }
  }

  absl::Status TakeMessage() {
    Message message;
    absl::Status status = ParseMessage(bytes_, message);
    if (status.ok()) status = upload_->Add(message);
    if (!status.ok() || !message.has_spec()) return status;
    stream()->SetTarget(TargetOf(upload_->request()));
    return CheckTarget(backend_, call().principal(), upload_->request());
  }

  Backend& backend_;
  const std::shared_ptr<MemoryUpload> upload_;
  std::mutex mutex_;
  grpc::ByteBuffer bytes_;
};

}  // namespace

Reactor* CreateMemory(Backend& backend, grpc::CallbackServerContext& context) {
  return new UploadReactor<v1::CreateMemoryRequest>("CreateMemory", backend, context);
}

Reactor* ReplaceMemory(Backend& backend, grpc::CallbackServerContext& context) {
  return new UploadReactor<v1::CreateMemoryRequest>("ReplaceMemory", backend, context, /*replace=*/true);
}

Reactor* AppendToMemory(Backend& backend, grpc::CallbackServerContext& context) {
  return new UploadReactor<v1::AppendToMemoryRequest>("AppendToMemory", backend, context);
}

}  // namespace mtm
