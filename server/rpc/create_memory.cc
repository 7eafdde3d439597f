// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/create_memory.h"

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/generation/stop_reasons.h"
#include "server/rpc/convert.h"
#include "server/rpc/memory_upload.h"
#include "server/rpc/stream_writer.h"
#include "server/rpc/unary.h"

namespace mtm {
namespace {

using Reactor = grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;

// What maker, worker and reactor share. Maker and worker may hold it when the reactor is gone already.
class Creation final : public MemorySink {
 public:
  Creation(Reactor* reactor, RpcCall* call, Backend& backend)
      : writer_(reactor, backend.max_queued_messages), call_(call), backend_(backend) {}

  void Fail(const absl::Status& status) {
    call_->set_status(status);
    writer_.Finish(ToGrpcStatus(status));
  }

  // The client's stream has ended: its side was closed, or it went away. Which of the two, a write tells for
  // sure, so a first progress is sent and the making begins when it is through: half a text is never made a
  // memory.
  void Prepare(absl::StatusOr<MemoryRequest> request) {
    if (!request.ok()) {
      Fail(request.status());
      return;
    }
    const auto total = static_cast<int64_t>(request->tokens.size());
    {
      const std::lock_guard lock(mutex_);
      prepared_ = *std::move(request);
    }
    // The first message of the stream: it is begun at once, or not at all.
    if (!WriteProgress(0, total, /*replaceable=*/false)) Fail(ClientLeft());
  }

  // From the reactor.
  void OnWriteDone(bool ok, const std::shared_ptr<Creation>& self) {
    if (!ok) cancelled_.store(true);
    std::optional<MemoryRequest> request = TakePrepared();
    writer_.OnWriteDone(ok);
    if (request && ok) backend_.maker.Make(*std::move(request), self);
    if (request && !ok) Fail(ClientLeft());
  }
  void OnCancel() {
    cancelled_.store(true);
    writer_.OnCancel();
  }

  bool IsCancelled() override { return cancelled_.load(); }

  void OnProgress(int64_t done, int64_t total) override { WriteProgress(done, total, /*replaceable=*/true); }

  void OnDone(absl::StatusOr<std::shared_ptr<const Memory>> memory) override {
    if (!memory.ok()) {
      Fail(memory.status());
      return;
    }
    const MemoryInfo& info = (*memory)->info();
    v1::CreateMemoryResponse event;
    *event.mutable_memory() = ToProto(info);
    if (!IsCancelled() && writer_.Write(SerializeMessage(event))) {
      writer_.Finish(grpc::Status::OK);
      return;
    }
    // The client left while the memory was committed: it cannot know of it.
    backend_.store.Delete(absl::StrCat(info.name, "@", info.digest)).IgnoreError();
    Fail(ClientLeft());
  }

 private:
  bool WriteProgress(int64_t done, int64_t total, bool replaceable) {
    v1::CreateMemoryResponse event;
    event.mutable_progress()->set_tokens_done(done);
    event.mutable_progress()->set_tokens_total(total);
    return writer_.Write(SerializeMessage(event), replaceable);
  }

  std::optional<MemoryRequest> TakePrepared() {
    const std::lock_guard lock(mutex_);
    return std::exchange(prepared_, std::nullopt);
  }

  StreamWriter<Reactor> writer_;
  RpcCall* const call_;  // the reactor's: gone when the writer has finished it
  Backend& backend_;
  std::atomic<bool> cancelled_ = false;
  std::mutex mutex_;
  std::optional<MemoryRequest> prepared_;  // under the mutex
};

class CreateReactor final : public Reactor {
 public:
  explicit CreateReactor(Backend& backend)
      : backend_(backend),
        call_(backend.calls.Begin("CreateMemory")),
        creation_(std::make_shared<Creation>(this, call_.get(), backend)),
        upload_(std::make_shared<MemoryUpload>(backend.info, backend.store, backend.max_text_bytes)) {
    if (call_->admission().ok()) {
      StartRead(&bytes_);
    } else {
      creation_->Fail(call_->admission());
    }
  }

 private:
  void OnReadDone(bool ok) override {
    // gRPC reads in order, on changing threads; the lock is there to show that order to ThreadSanitizer.
    const std::lock_guard lock(mutex_);
    if (!ok) {
      backend_.worker.Run([creation = creation_, upload = upload_] {
        creation->Prepare(creation->IsCancelled() ? ClientLeft() : upload->Finish());
      });
      return;
    }
    v1::CreateMemoryRequest message;
    absl::Status status = ParseMessage(bytes_, message);
    if (status.ok()) status = upload_->Add(message);
    if (status.ok()) {
      StartRead(&bytes_);
    } else {
      creation_->Fail(status);
    }
  }
  void OnWriteDone(bool ok) override { creation_->OnWriteDone(ok, creation_); }
  void OnCancel() override { creation_->OnCancel(); }
  void OnDone() override {
    // Whatever came of what was there of its request.
    if (creation_->IsCancelled()) call_->set_status(ClientLeft());
    delete this;
  }

  Backend& backend_;
  const std::unique_ptr<RpcCall> call_;
  const std::shared_ptr<Creation> creation_;
  const std::shared_ptr<MemoryUpload> upload_;
  std::mutex mutex_;
  grpc::ByteBuffer bytes_;
};

}  // namespace

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* CreateMemory(Backend& backend) {
  return new CreateReactor(backend);
}

}  // namespace mtm
