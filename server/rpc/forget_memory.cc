// SPDX-License-Identifier: Apache-2.0
// The write rpcs that take one request.
#include <memory>
#include <utility>

#include "server/rpc/validate_change.h"
#include "server/rpc/validate_memory.h"
#include "server/rpc/write_memory.h"
#include "server/rpc/write_stream.h"

namespace mtm {
namespace {

class ForgetStream final : public WriteStream<WriteReactor>,
                           public std::enable_shared_from_this<ForgetStream> {
 public:
  using WriteStream::WriteStream;

  void Start(const v1::ForgetFromMemoryRequest& request) {
    FieldErrors errors;
    WriteRequest write = ReadForget(request, errors);
    absl::Status status = errors.ToStatus();
    if (status.ok()) {
      SetMemory(TargetOf(write));
      status = CheckTarget(backend_, principal(), write);
    }
    if (status.ok()) {
      BeginWrite(std::move(write), shared_from_this());
    } else {
      Finish(status);
    }
  }
};

class WatchStream final : public WriteStream<WriteReactor>, public std::enable_shared_from_this<WatchStream> {
 public:
  using WriteStream::WriteStream;

  void Start(const v1::WatchWriteRequest& request) {
    FieldErrors errors;
    if (request.request_id().empty()) errors.Add("request_id", "is missing; must be that of a write");
    CheckRequestId("request_id", request.request_id(), errors);
    if (errors.empty()) {
      backend_.maker.Watch(principal().OwnRequestId(request.request_id()), shared_from_this());
    } else {
      Finish(errors.ToStatus());
    }
  }
};

}  // namespace

WriteReactor* ForgetFromMemory(Backend& backend, grpc::CallbackServerContext& context,
                               const grpc::ByteBuffer& request) {
  return StreamAnswer<v1::ForgetFromMemoryRequest, ForgetStream>("ForgetFromMemory", backend, context,
                                                                 request);
}

WriteReactor* WatchWrite(Backend& backend, grpc::CallbackServerContext& context,
                         const grpc::ByteBuffer& request) {
  return StreamAnswer<v1::WatchWriteRequest, WatchStream>("WatchWrite", backend, context, request);
}

}  // namespace mtm
