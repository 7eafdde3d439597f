// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_WRITE_STREAM_H_
#define MTM_SERVER_RPC_WRITE_STREAM_H_

#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "mtm/v1/memory_service.pb.h"
#include "server/generation/memory_request.h"
#include "server/rpc/backend.h"
#include "server/rpc/response_stream.h"

namespace mtm {

// What `request` is to change must be there, or for a new memory must not; known before a text is sent or a
// detached write is accepted; and `principal` must have the right to. The write itself checks the former
// again. Errors as WithRight's, FindBase's and MemoryStore's. Whether it is there does not matter for a
// request id that is known already.
absl::Status CheckTarget(const Backend& backend, const Principal& principal, const WriteRequest& request);

// It makes a memory under a name that must not exist.
bool MakesNewMemory(const WriteRequest& request);

// The name or reference of the memory that is changed.
const std::string& TargetOf(const WriteRequest& request);

// What a write made, as the last event has it.
v1::Memory DescribeResult(const MemoryStore& store, const WriteResult& result);

// A write's events on their way to the client.
template <typename Reactor>
class WriteStream : public ResponseStream<Reactor>, public WriteSink {
 public:
  WriteStream(Reactor* reactor, RpcCall* call, Backend& backend)
      : ResponseStream<Reactor>(reactor, call, backend.max_queued_messages), backend_(backend) {}

  // WriteSink
  bool IsCancelled() override { return this->finished(); }

  void OnProgress(int64_t done, int64_t total) override { WriteProgress(done, total, /*replaceable=*/true); }

  void OnAccepted() override {
    v1::WriteMemoryResponse event;
    event.mutable_accepted()->set_request_id(request_id_);
    this->Write(event);
    this->Finish(absl::OkStatus());
  }

  void OnDone(absl::StatusOr<WriteResult> result) override {
    if (!result.ok()) {
      this->Finish(result.status());
      return;
    }
    const std::string reference = absl::StrCat(result->name, "@", result->digest);
    v1::WriteMemoryResponse event;
    *event.mutable_memory() = DescribeResult(backend_.store, *result);
    if (this->Write(event)) {
      this->SetMemory(reference);
      this->Finish(absl::OkStatus());
    } else if (undone_) {
      backend_.store.Delete(reference).IgnoreError();
    }
  }

 protected:
  // `self` is this.
  void BeginWrite(WriteRequest request, std::shared_ptr<WriteSink> self) {
    undone_ = MakesNewMemory(request) && request.request_id.empty();
    request_id_ = request.request_id;
    request.request_id = this->principal().OwnRequestId(request_id_);
    backend_.maker.Write(std::move(request), std::move(self));
  }

  bool WriteProgress(int64_t done, int64_t total, bool replaceable) {
    v1::WriteMemoryResponse event;
    event.mutable_progress()->set_tokens_done(done);
    event.mutable_progress()->set_tokens_total(total);
    return this->Write(event, replaceable);
  }

  Backend& backend_;

 private:
  std::string request_id_;
  // A new memory that was committed while its client left is deleted again where the client has no id to find
  // it by.
  bool undone_ = false;
};

}  // namespace mtm

#endif  // MTM_SERVER_RPC_WRITE_STREAM_H_
