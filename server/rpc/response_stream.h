// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_RESPONSE_STREAM_H_
#define MTM_SERVER_RPC_RESPONSE_STREAM_H_

#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <string_view>
#include <utility>

#include "server/generation/stop_reasons.h"
#include "server/rpc/backend.h"
#include "server/rpc/messages.h"
#include "server/rpc/status.h"
#include "server/rpc/stream_writer.h"
#include "server/rpc/unary.h"

namespace mtm {

// The server's side of a streaming rpc, shared by its reactor and by whoever works for it on another thread,
// who may hold it when the reactor is gone already. Thread-safe.
template <typename Reactor>
class ResponseStream {
 public:
  ResponseStream(Reactor* reactor, RpcCall* call, size_t max_queued)
      : writer_(reactor, max_queued), principal_(call->principal()), reactor_(reactor), call_(call) {}
  virtual ~ResponseStream() = default;
  ResponseStream(const ResponseStream&) = delete;
  ResponseStream& operator=(const ResponseStream&) = delete;

  // As StreamWriter's.
  bool Write(const google::protobuf::Message& message, bool replaceable = false) {
    return writer_.Write(SerializeMessage(message), replaceable);
  }
  bool HasRoom() { return writer_.HasRoom(); }

  // Ends the rpc when everything is written. Only the first call counts.
  void Finish(const absl::Status& status) {
    {
      const std::lock_guard lock(mutex_);
      if (call_ == nullptr) return;
      std::exchange(call_, nullptr)->set_status(status);
    }
    writer_.Finish(ToGrpcStatus(status));
  }
  // Nobody waits for more.
  bool finished() const {
    const std::lock_guard lock(mutex_);
    return call_ == nullptr;
  }
  bool cancelled() const { return cancelled_.load(); }

  // From the reactor.
  void OnWriteDone(bool ok) {
    const bool room = writer_.OnWriteDone(ok);
    if (!ok) {
      Finish(ClientLeft());
    } else if (room) {
      OnRoom();
    }
  }
  void OnCancel() {
    cancelled_.store(true);
    writer_.OnCancel();
    Finish(ClientLeft());
  }

 protected:
  // HasRoom found none, and now there is.
  virtual void OnRoom() {}

  // Calls `function`(Reactor&, RpcCall&) unless the rpc has finished; both are there until it returns.
  template <typename Function>
  void IfOpen(Function function) {
    const std::lock_guard lock(mutex_);
    if (call_ != nullptr) function(*reactor_, *call_);
  }
  const Principal& principal() const { return principal_; }
  void SetMemory(std::string_view reference) {
    IfOpen([&](Reactor&, RpcCall& call) { call.set_memory(reference); });
  }

 private:
  StreamWriter<Reactor> writer_;
  const Principal principal_;
  std::atomic<bool> cancelled_ = false;
  mutable std::mutex mutex_;
  Reactor* const reactor_;
  RpcCall* call_;  // under the mutex; the reactor's. Null: finished
};

using WriteReactor = grpc::ServerWriteReactor<grpc::ByteBuffer>;

// gRPC's side of a streaming rpc: a `Reactor` that hands what it hears to its `Stream`, a ResponseStream made
// of (Reactor*, RpcCall*, Backend&). Lives until gRPC is done with it.
template <typename Reactor, typename Stream>
class StreamReactor : public Reactor {
 public:
  StreamReactor(std::unique_ptr<RpcCall> call, Backend& backend)
      : call_(std::move(call)), stream_(std::make_shared<Stream>(this, call_.get(), backend)) {}

  RpcCall& call() { return *call_; }
  const std::shared_ptr<Stream>& stream() const { return stream_; }

 private:
  void OnWriteDone(bool ok) final { stream_->OnWriteDone(ok); }
  void OnCancel() final { stream_->OnCancel(); }
  void OnDone() final {
    if (stream_->cancelled()) call_->set_status(ClientLeft());
    delete this;
  }

  const std::unique_ptr<RpcCall> call_;
  const std::shared_ptr<Stream> stream_;
};

// Answers a request with a stream, whose Start gets the request.
template <typename Request, typename Stream>
WriteReactor* StreamAnswer(std::string_view rpc, Backend& backend, grpc::CallbackServerContext& context,
                           const grpc::ByteBuffer& bytes) {
  auto call = backend.calls.Begin(rpc, context);
  const absl::StatusOr<Request> request = ReadRequest<Request>(*call, bytes);
  auto* reactor = new StreamReactor<WriteReactor, Stream>(std::move(call), backend);
  const std::shared_ptr<Stream> stream = reactor->stream();
  if (request.ok()) {
    stream->Start(*request);
  } else {
    stream->Finish(request.status());
  }
  return reactor;
}

}  // namespace mtm

#endif  // MTM_SERVER_RPC_RESPONSE_STREAM_H_
