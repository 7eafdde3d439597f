// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_ENGINE_RPC_H_
#define MTM_SERVER_RPC_ENGINE_RPC_H_

#include <functional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "server/rpc/backend.h"
#include "server/rpc/unary.h"
#include "server/rpc/validate_uses.h"

namespace mtm {

// Runs `start`, which finds the memories of `uses`: at once, or on the worker where one has to be loaded
// first.
inline void RunWithMemories(Backend& backend, const Principal& principal, const MemoryUseProtos& uses,
                            std::function<void()> start) {
  if (WouldLoad(uses, backend.store, principal)) {
    backend.worker.Run(std::move(start));
  } else {
    start();
  }
}

// Calls `hand_over`(status, request), which gives the request to the engine: at once, or on the worker when
// what its memories store was copied to the model's device.
template <typename Request>
void WithMemoriesOnDevice(Backend& backend, Request request, std::function<bool()> is_cancelled,
                          std::function<void(const absl::Status&, Request)> hand_over) {
  if (backend.model.FindOnDevice(request.context.uses)) {
    hand_over(absl::OkStatus(), std::move(request));
    return;
  }
  backend.worker.Run([&backend, request = std::move(request), is_cancelled = std::move(is_cancelled),
                      hand_over = std::move(hand_over)]() mutable {
    const absl::Status status =
        is_cancelled() ? ClientLeft() : backend.model.CopyToDevice(request.context.uses);
    hand_over(status, std::move(request));
  });
}

// A unary rpc that the engine answers: `start`(UnaryRpc*, const Request&, Backend&) hands it over, unless the
// client has left by then.
template <typename Request, typename Function>
grpc::ServerUnaryReactor* AnswerByEngine(std::string_view name, Backend& backend,
                                         grpc::CallbackServerContext& context, const grpc::ByteBuffer& bytes,
                                         grpc::ByteBuffer* response, Function start) {
  auto call = backend.calls.Begin(name, context);
  const auto request = ReadRequest<Request>(*call, bytes);
  auto* rpc = new UnaryRpc(std::move(call), response, [&backend] { backend.engine.Wake(); });
  if (!request.ok()) {
    rpc->Fail(request.status());
    return rpc;
  }
  RunWithMemories(backend, rpc->call().principal(), request->memory_uses(),
                  [rpc, request = *request, &backend, start] {
                    if (rpc->cancelled()->load()) {
                      rpc->Fail(ClientLeft());
                    } else {
                      start(rpc, request, backend);
                    }
                  });
  return rpc;
}

}  // namespace mtm

#endif  // MTM_SERVER_RPC_ENGINE_RPC_H_
