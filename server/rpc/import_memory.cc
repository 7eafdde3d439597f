// SPDX-License-Identifier: Apache-2.0
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "memory_store/digest.h"
#include "memory_store/transfer.h"
#include "mtm/v1/memory_service.pb.h"
#include "server/rpc/field_errors.h"
#include "server/rpc/memory_streams.h"
#include "server/rpc/response_stream.h"
#include "server/rpc/validate_change.h"
#include "server/rpc/write_stream.h"

namespace mtm {
namespace {

using BidiReactor = grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;

absl::StatusOr<CommitOptions> ReadSpec(const v1::ImportMemoryRequest::Spec& spec) {
  FieldErrors errors;
  CheckName("spec.name", spec.name(), errors);
  if (!IsHex(spec.digest(), kDigestDigits)) {
    errors.Add("spec.digest", absl::StrCat("must be the ", kDigestDigits, " digits of the export's header"));
  }
  CheckNumber("spec.total_bytes", static_cast<double>(spec.total_bytes()), Range{1}, errors);
  CommitOptions options{.request_id = spec.request_id()};
  if (!spec.labels().empty()) options.labels = ReadLabels("spec.labels", spec.labels(), errors);
  if (spec.has_metadata()) options.metadata = ReadMetadata("spec.metadata", spec.metadata(), errors);
  CheckRequestId("spec.request_id", spec.request_id(), errors);
  if (!errors.empty()) return errors.ToStatus();
  return options;
}

// One message is read at a time, and the next one when its bytes are in their file: what a client sends
// faster stays with it. The job that takes a message reads the next one or ends the rpc, so jobs come one
// after the other.
class Import final : public ResponseStream<BidiReactor>, public std::enable_shared_from_this<Import> {
 public:
  Import(BidiReactor* reactor, RpcCall* call, Backend& backend)
      : ResponseStream(reactor, call, /*max_queued=*/1), backend_(backend) {}

  void Start(const absl::Status& admission) {
    if (!admission.ok()) {
      Finish(admission);
      return;
    }
    stopped_.emplace(backend_.stopping, [this] { Finish(ShuttingDown()); });
    Read();
  }

  void OnReadDone(bool ok) {
    if (ok) {
      backend_.worker.Run([self = shared_from_this()] { self->TakeMessage(); });
    } else {
      backend_.long_worker.Run([self = shared_from_this()] { self->Commit(); });
    }
  }

 private:
  void Read() {
    IfOpen([this](BidiReactor& reactor, RpcCall&) { reactor.StartRead(&bytes_); });
  }

  void TakeMessage() {
    const std::lock_guard lock(mutex_);
    if (finished()) return;
    v1::ImportMemoryRequest message;
    absl::Status status = ParseMessage(bytes_, message);
    if (status.ok()) status = Take(message);
    if (status.ok()) {
      Read();
    } else {
      Fail(status);
    }
  }

  absl::Status Take(const v1::ImportMemoryRequest& message) {
    if (writer_ == nullptr && !message.has_spec()) return SpecMissing();
    if (message.has_data()) return writer_->Write(std::as_bytes(std::span(message.data())));
    if (!message.has_spec()) return FieldError("part", "is missing; must be `data`");
    if (writer_ != nullptr) return FieldError("spec", "came before; only the first message is `spec`");
    return TakeSpec(message.spec());
  }

  absl::Status TakeSpec(const v1::ImportMemoryRequest::Spec& spec) {
    auto options = ReadSpec(spec);
    if (!options.ok()) return options.status();
    SetMemory(absl::StrCat(spec.name(), "@", spec.digest()));
    options_ = *std::move(options);
    options_.request_id = principal().OwnRequestId(options_.request_id);
    const absl::Status allowed = principal().CheckNew(spec.name());
    if (!allowed.ok()) return allowed;
    if (const auto earlier = backend_.store.FindWrite(options_.request_id)) {
      if (earlier->digest.empty()) return FieldError("spec.request_id", "is that of a deletion");
      // The bytes need not come a second time.
      FinishWithMemory(*earlier);
      return absl::OkStatus();
    }
    auto writer = backend_.store.Import(spec.name(), spec.digest(), spec.total_bytes());
    if (!writer.ok()) return writer.status();
    writer_ = *std::move(writer);
    v1::ImportMemoryResponse event;
    event.mutable_resume()->set_offset(writer_->offset());
    Write(event);
    return absl::OkStatus();
  }

  // The client has closed its side or went away: the store tells the two apart by whether all bytes are
  // there.
  void Commit() {
    const std::lock_guard lock(mutex_);
    if (finished()) return;
    if (writer_ == nullptr) {
      Finish(SpecMissing());
      return;
    }
    const auto memory = writer_->Commit(options_);
    if (!memory.ok()) {
      Fail(memory.status());
      return;
    }
    writer_ = nullptr;
    FinishWithMemory({.name = (*memory)->info().name, .digest = (*memory)->info().digest});
  }

  void Fail(const absl::Status& status) {
    writer_ = nullptr;  // before the client hears of it: it may come back at once
    Finish(status);
  }

  void FinishWithMemory(const WriteResult& result) {
    v1::ImportMemoryResponse event;
    *event.mutable_memory() = DescribeResult(backend_.store, result);
    Write(event);
    Finish(absl::OkStatus());
  }

  static absl::Status SpecMissing() {
    return FieldError("spec", "is missing; the first message must be `spec`");
  }

  Backend& backend_;
  grpc::ByteBuffer bytes_;
  std::mutex mutex_;  // the jobs are on changing threads
  CommitOptions options_;
  std::unique_ptr<ImportWriter> writer_;
  std::optional<std::stop_callback<std::function<void()>>> stopped_;
};

class ImportReactor final : public StreamReactor<BidiReactor, Import> {
 public:
  using StreamReactor::StreamReactor;

 private:
  void OnReadDone(bool ok) override { stream()->OnReadDone(ok); }
};

}  // namespace

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* ImportMemory(
    Backend& backend, grpc::CallbackServerContext& context) {
  auto* reactor = new ImportReactor(backend.calls.Begin("ImportMemory", context), backend);
  reactor->stream()->Start(reactor->call().admission());
  return reactor;
}

}  // namespace mtm
