// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <string>

#include "memory_store/transfer.h"
#include "mtm/v1/memory_service.pb.h"
#include "server/rpc/field_errors.h"
#include "server/rpc/memory_rights.h"
#include "server/rpc/memory_streams.h"
#include "server/rpc/response_stream.h"
#include "server/rpc/validate_memory.h"

namespace mtm {
namespace {

// Below the 4 MiB that gRPC's clients take in one message unless they are told otherwise.
constexpr int64_t kPieceBytes = 1 << 20;

// Pieces are read on the worker, one job each and none without room for it, so that a reader takes a thread
// only for what it reads.
class Export final : public ResponseStream<WriteReactor>, public std::enable_shared_from_this<Export> {
 public:
  Export(WriteReactor* reactor, RpcCall* call, Backend& backend)
      : ResponseStream(reactor, call, /*max_queued=*/1), backend_(backend) {}

  void Start(const v1::ExportMemoryRequest& request) {
    FieldErrors errors;
    CheckMemoryReference("name", request.name(), errors);
    CheckNumber("offset", static_cast<double>(request.offset()), Range{0}, errors);
    if (!errors.empty()) {
      Finish(errors.ToStatus());
      return;
    }
    SetMemory(request.name());
    stopped_.emplace(backend_.stopping, [this] { Finish(ShuttingDown()); });
    backend_.worker.Run([self = shared_from_this(), request] {
      const absl::Status status = self->Open(request);
      status.ok() ? self->Continue() : self->Finish(status);
    });
  }

 private:
  absl::Status Open(const v1::ExportMemoryRequest& request) {
    if (finished()) return ClientLeft();
    auto opened = WithRight(principal(), Right::kRead, request.name(), backend_.store,
                            [&] { return backend_.store.Export(request.name()); });
    if (!opened.ok()) return opened.status();
    const std::lock_guard lock(mutex_);
    export_ = *std::move(opened);
    offset_ = request.offset();
    FieldErrors errors;
    CheckNumber("offset", static_cast<double>(offset_),
                Range{.low = 0, .high = static_cast<double>(export_->size())}, errors);
    if (!errors.empty()) return errors.ToStatus();
    v1::ExportMemoryResponse event;
    event.mutable_header()->set_digest(export_->digest());
    event.mutable_header()->set_total_bytes(export_->size());
    Write(event);
    return absl::OkStatus();
  }

  // The next piece, where there is room for one; otherwise OnRoom goes on.
  void Continue() {
    if (!finished() && HasRoom()) OnRoom();
  }
  void OnRoom() override {
    backend_.worker.Run([self = shared_from_this()] { self->SendPiece(); });
  }

  void SendPiece() {
    const std::lock_guard lock(mutex_);
    if (finished()) return;
    const int64_t size = std::min(kPieceBytes, export_->size() - offset_);
    if (size == 0) {
      Finish(absl::OkStatus());
      return;
    }
    v1::ExportMemoryResponse event;
    std::string& data = *event.mutable_data();
    data.resize(static_cast<size_t>(size));
    const absl::Status status = export_->Read(offset_, std::as_writable_bytes(std::span(data)));
    if (!status.ok()) {
      Finish(status);
      return;
    }
    offset_ += size;
    Write(event);
    Continue();
  }

  Backend& backend_;
  std::mutex mutex_;  // jobs come one after the other, on changing threads
  std::unique_ptr<MemoryExport> export_;
  int64_t offset_ = 0;
  std::optional<std::stop_callback<std::function<void()>>> stopped_;
};

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* ExportMemory(Backend& backend,
                                                         grpc::CallbackServerContext& context,
                                                         const grpc::ByteBuffer& request) {
  return StreamAnswer<v1::ExportMemoryRequest, Export>("ExportMemory", backend, context, request);
}

}  // namespace mtm
