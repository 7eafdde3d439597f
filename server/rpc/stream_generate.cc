// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "server/rpc/convert.h"
#include "server/rpc/engine_rpc.h"
#include "server/rpc/generate.h"
#include "server/rpc/stream_writer.h"
#include "server/rpc/unary.h"
#include "server/rpc/validate_generate.h"

namespace mtm {
namespace {

using Reactor = grpc::ServerWriteReactor<grpc::ByteBuffer>;

// What engine and reactor share. The engine may hold it when the reactor is gone already.
class StreamSink final : public GenerationSink {
 public:
  StreamSink(Reactor* reactor, RpcCall* call, Backend& backend)
      : writer_(reactor, backend.max_queued_messages), call_(call), backend_(backend) {}

  void Start(const v1::GenerateRequest& request, std::shared_ptr<StreamSink> self) {
    if (IsCancelled()) {
      Fail(ClientLeft());
      return;
    }
    auto checked = CheckGenerate(request, backend_.info, backend_.store, call_->principal());
    if (!checked.ok()) {
      Fail(checked.status());
      return;
    }
    uses_ = checked->request.context.uses;
    v1::StreamGenerateResponse event;
    *event.mutable_started() = ToApplied(*checked);
    writer_.Write(SerializeMessage(event));
    WithMemoriesOnDevice<GenerationRequest>(
        backend_, std::move(checked->request), [this] { return IsCancelled(); },
        [this, self](const absl::Status& there, GenerationRequest checked_request) {
          if (!there.ok()) return Fail(there);
          backend_.engine.Generate(std::move(checked_request), self, call_->requester());
        });
  }

  void Fail(const absl::Status& status) {
    call_->set_status(status);
    writer_.Finish(ToGrpcStatus(status));
  }

  // From the reactor.
  void OnWriteDone(bool ok) {
    if (!ok) cancelled_.store(true);
    if (writer_.OnWriteDone(ok) || !ok) backend_.engine.Wake();
  }
  void OnCancel() {
    cancelled_.store(true);
    writer_.OnCancel();
    backend_.engine.Wake();
  }

  bool HasRoom() override { return writer_.HasRoom(); }
  bool IsCancelled() override { return cancelled_.load(); }

  void OnToken(GeneratedToken generated) override {
    v1::StreamGenerateResponse event;
    auto& token = *event.mutable_token();
    token.set_sample(generated.sample);
    token.set_token_id(generated.id);
    token.set_text(generated.text);
    if (generated.detail) *token.mutable_detail() = ToProto(*generated.detail, tokenizer());
    AddTrace(generated.lookups, *token.mutable_trace());
    writer_.Write(SerializeMessage(event));
  }

  void OnSampleFinished(int sample, FinishReason reason, std::string text, Lookups lookups) override {
    v1::StreamGenerateResponse event;
    auto& finished = *event.mutable_sample_finished();
    finished.set_sample(sample);
    finished.set_finish_reason(ToProto(reason));
    finished.set_text(std::move(text));
    AddTrace(lookups, *finished.mutable_trace());
    writer_.Write(SerializeMessage(event));
  }

  void OnDone(const absl::Status& status, const RequestStats& stats) override {
    call_->set_stats(stats);
    if (!status.ok()) {
      Fail(status);
      return;
    }
    v1::StreamGenerateResponse event;
    *event.mutable_finished()->mutable_usage() = ToProto(stats.usage);
    *event.mutable_finished()->mutable_timings() = ToProto(stats.timings);
    writer_.Write(SerializeMessage(event));
    writer_.Finish(grpc::Status::OK);
  }

 private:
  void AddTrace(const Lookups& lookups, TraceEntryProtos& trace) {
    AppendTrace(lookups, uses_, tokenizer(), std::numeric_limits<int>::max(), trace);
  }
  const Tokenizer* tokenizer() const { return backend_.info.tokenizer; }

  StreamWriter<Reactor> writer_;
  RpcCall* const call_;  // the reactor's: gone when the writer has finished it
  Backend& backend_;
  std::vector<MemoryUse> uses_;
  std::atomic<bool> cancelled_ = false;
};

class StreamReactor final : public Reactor {
 public:
  StreamReactor(std::unique_ptr<RpcCall> call, Backend& backend)
      : call_(std::move(call)), sink_(std::make_shared<StreamSink>(this, call_.get(), backend)) {}

  const std::shared_ptr<StreamSink>& sink() const { return sink_; }
  const Principal& principal() const { return call_->principal(); }

 private:
  void OnWriteDone(bool ok) override { sink_->OnWriteDone(ok); }
  void OnCancel() override { sink_->OnCancel(); }
  void OnDone() override { delete this; }

  const std::unique_ptr<RpcCall> call_;
  const std::shared_ptr<StreamSink> sink_;
};

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* StreamGenerate(Backend& backend,
                                                           grpc::CallbackServerContext& context,
                                                           const grpc::ByteBuffer& bytes) {
  auto call = backend.calls.Begin("StreamGenerate", context);
  const auto request = ReadRequest<v1::GenerateRequest>(*call, bytes);
  auto* reactor = new StreamReactor(std::move(call), backend);
  const std::shared_ptr<StreamSink> sink = reactor->sink();
  if (!request.ok()) {
    sink->Fail(request.status());
    return reactor;
  }
  RunWithMemories(backend, reactor->principal(), request->memory_uses(),
                  [sink, request = *request] { sink->Start(request, sink); });
  return reactor;
}

}  // namespace mtm
