// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "mtm/v1/memory_service.pb.h"
#include "server/rpc/convert.h"
#include "server/rpc/memory_rights.h"
#include "server/rpc/memory_streams.h"
#include "server/rpc/response_stream.h"
#include "server/rpc/validate_change.h"
#include "server/rpc/validate_memory.h"

namespace mtm {
namespace {

// A pass over all of a memory, with its progress.
class Check final : public ResponseStream<WriteReactor>, public std::enable_shared_from_this<Check> {
 public:
  Check(WriteReactor* reactor, RpcCall* call, Backend& backend)
      : ResponseStream(reactor, call, /*max_queued=*/1), backend_(backend) {}

  void Start(const v1::VerifyMemoryRequest& request) {
    FieldErrors errors;
    CheckMemoryReference("name", request.name(), errors);
    Start(request.name(), errors, [this, name = request.name()](int64_t size) {
      return backend_.store.Verify(name, [&](int64_t bytes_done) { return OnProgress(bytes_done, size); });
    });
  }

  void Start(const v1::RebuildIndexRequest& request) {
    FieldErrors errors;
    CheckName("name", request.name(), errors);
    Start(request.name(), errors, [this, name = request.name()](int64_t size) {
      return backend_.store.RebuildIndex(name, [&](double share) {
        return OnProgress(static_cast<int64_t>(share * static_cast<double>(size)), size);
      });
    });
  }

 private:
  // `work` gets the size of the version in bytes.
  void Start(const std::string& name, const FieldErrors& errors, std::function<absl::Status(int64_t)> work) {
    if (!errors.empty()) {
      Finish(errors.ToStatus());
      return;
    }
    SetMemory(name);
    backend_.long_worker.Run(
        [self = shared_from_this(), name, work = std::move(work)] { self->Finish(self->Run(name, work)); });
  }

  absl::Status Run(const std::string& name, const std::function<absl::Status(int64_t)>& work) {
    auto record = WithRight(principal(), Right::kAdmin, name, backend_.store,
                            [&] { return backend_.store.Find(name); });
    if (!record.ok()) return record.status();
    const int64_t size = (*record)->info.size_bytes;
    absl::Status status = OnProgress(0, size);  // whoever left while this was waiting is not worked for
    if (status.ok()) status = work(size);
    if (!status.ok()) return status;
    record = backend_.store.Find(name);
    if (!record.ok()) return record.status();
    v1::CheckMemoryResponse event;
    *event.mutable_memory() = ToProto(**record, /*with_versions=*/false);
    Write(event);
    return absl::OkStatus();
  }

  absl::Status OnProgress(int64_t bytes_done, int64_t bytes_total) {
    if (finished()) return ClientLeft();
    if (backend_.stopping.stop_requested()) return ShuttingDown();
    v1::CheckMemoryResponse event;
    event.mutable_progress()->set_bytes_done(std::min(bytes_done, bytes_total));
    event.mutable_progress()->set_bytes_total(bytes_total);
    Write(event, /*replaceable=*/true);
    return absl::OkStatus();
  }

  Backend& backend_;
};

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* VerifyMemory(Backend& backend,
                                                         grpc::CallbackServerContext& context,
                                                         const grpc::ByteBuffer& request) {
  return StreamAnswer<v1::VerifyMemoryRequest, Check>("VerifyMemory", backend, context, request);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* RebuildIndex(Backend& backend,
                                                         grpc::CallbackServerContext& context,
                                                         const grpc::ByteBuffer& request) {
  return StreamAnswer<v1::RebuildIndexRequest, Check>("RebuildIndex", backend, context, request);
}

}  // namespace mtm
