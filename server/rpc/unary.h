// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_UNARY_H_
#define MTM_SERVER_RPC_UNARY_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <functional>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "server/generation/stop_reasons.h"
#include "server/rpc/messages.h"
#include "server/rpc/rpc_calls.h"
#include "server/rpc/status.h"
#include "server/rpc/worker.h"

namespace mtm {

// A unary rpc that is answered by any thread, later. Lives until gRPC is done with it, which is never before
// Finish.
class UnaryRpc final : public grpc::ServerUnaryReactor {
 public:
  // `on_cancel` is called on one of gRPC's threads when the client left, after `cancelled` is set.
  UnaryRpc(
      std::unique_ptr<RpcCall> call, grpc::ByteBuffer* response, std::function<void()> on_cancel = [] {})
      : call_(std::move(call)), response_(response), on_cancel_(std::move(on_cancel)) {}

  // May be asked after the rpc is gone: hold on to it.
  std::shared_ptr<const std::atomic<bool>> cancelled() const { return cancelled_; }

  RpcCall& call() { return *call_; }

  // Called once. The rpc is not to be touched after that.
  void Reply(const google::protobuf::Message& message) {
    *response_ = SerializeMessage(message);
    Finish(grpc::Status::OK);
  }
  void Fail(const absl::Status& status) {
    call_->set_status(status);
    Finish(ToGrpcStatus(status));
  }
  template <typename Message>
  void ReplyOrFail(const absl::StatusOr<Message>& message) {
    message.ok() ? Reply(*message) : Fail(message.status());
  }

 private:
  void OnCancel() override {
    cancelled_->store(true);
    on_cancel_();
  }
  void OnDone() override { delete this; }

  std::unique_ptr<RpcCall> call_;
  grpc::ByteBuffer* const response_;
  const std::function<void()> on_cancel_;
  const std::shared_ptr<std::atomic<bool>> cancelled_ = std::make_shared<std::atomic<bool>>(false);
};

// The request of an rpc that the server takes, parsed.
template <typename Request>
absl::StatusOr<Request> ReadRequest(const RpcCall& call, const grpc::ByteBuffer& bytes) {
  if (!call.admission().ok()) return call.admission();
  Request request;
  const absl::Status status = ParseMessage(bytes, request);
  if (!status.ok()) return status;
  return request;
}

// Answers with what `function`, absl::StatusOr<some message>(const Request&, RpcCall&), returns. At once:
template <typename Request, typename Function>
grpc::ServerUnaryReactor* AnswerNow(std::unique_ptr<RpcCall> call, const grpc::ByteBuffer* bytes,
                                    grpc::ByteBuffer* response, Function function) {
  const absl::StatusOr<Request> request = ReadRequest<Request>(*call, *bytes);
  auto* rpc = new UnaryRpc(std::move(call), response);
  if (request.ok()) {
    rpc->ReplyOrFail(function(*request, rpc->call()));
  } else {
    rpc->Fail(request.status());
  }
  return rpc;
}

// The same where it has to wait for the disk. It is not begun when the client has left by then.
template <typename Request, typename Function>
grpc::ServerUnaryReactor* AnswerOn(Worker& worker, std::unique_ptr<RpcCall> call,
                                   const grpc::ByteBuffer* bytes, grpc::ByteBuffer* response,
                                   Function function) {
  absl::StatusOr<Request> request = ReadRequest<Request>(*call, *bytes);
  auto* rpc = new UnaryRpc(std::move(call), response);
  if (!request.ok()) {
    rpc->Fail(request.status());
    return rpc;
  }
  worker.Run([rpc, request = *std::move(request), function = std::move(function)] {
    if (rpc->cancelled()->load()) {
      rpc->Fail(ClientLeft());
    } else {
      rpc->ReplyOrFail(function(request, rpc->call()));
    }
  });
  return rpc;
}

}  // namespace mtm

#endif  // MTM_SERVER_RPC_UNARY_H_
