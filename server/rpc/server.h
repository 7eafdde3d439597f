// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_SERVER_H_
#define MTM_SERVER_RPC_SERVER_H_

#include <grpcpp/server.h>

#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>

#include "absl/status/statusor.h"
#include "server/rpc/access.h"
#include "server/rpc/backend.h"
#include "server/rpc/credentials.h"
#include "server/rpc/inference_service.h"
#include "server/rpc/memory_service.h"

namespace mtm {

struct ServerOptions {
  // Where to listen: host:port, port 0 for a free one.
  std::string listen_address = "127.0.0.1:50051";

  // No certificate: without TLS, and on the loopback only, unless `insecure_listen`.
  TlsFiles tls;
  bool insecure_listen = false;

  // Who may do what: access_file.h. Empty: everybody everything.
  std::filesystem::path access_file;

  // Whether gRPC's own view of its connections (channelz) is served: with an access file to admins of `*`
  // alone.
  bool channelz = false;

  // How clients see the model's name.
  std::string model_name = "model";

  // Longest message that a client may send.
  int max_message_bytes = 16 << 20;

  // Bytes that gRPC may hold of what comes in, for all connections together. Beyond it they are slowed down,
  // then closed.
  int64_t max_network_bytes = int64_t{512} << 20;

  // Rpcs at once over one connection; a client's further ones wait with it.
  int max_concurrent_streams = 1000;

  // Longest text that a memory is made of.
  int64_t max_text_bytes = int64_t{64} << 20;

  // How long Shutdown lets rpcs under way go on.
  int shutdown_grace_ms = 10'000;

  // Messages that wait in a stream for a slow reader; then its generation rests.
  int max_queued_messages = 16;

  Engine::Options engine;

  // Told of each rpc that has ended, from any thread.
  RpcCalls::Observer observer = LogRpc;
};

// The whole service over a model and a store: engine, gRPC server, health (grpc.health.v1) and reflection.
// Thread-safe.
class Server {
 public:
  // Listening when it returns. `model`, `tokenizer` (null for a model without one) and `store` outlive the
  // server. INVALID_ARGUMENT: no such address here, it is in use, or not to be listened on without TLS.
  // Errors of TlsCredentials and Access::Load.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const Model& model, const Tokenizer* tokenizer,
                                                       MemoryStore& store, ServerOptions options);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  int port() const { return port_; }

  // Reads the access file again, changed or not, and logs what came of it.
  void ReloadAccess();

  // Blocks until Shutdown is through.
  void Wait();

  // Health turns to NOT_SERVING, new rpcs are refused with UNAVAILABLE, WatchMemories ends so, the others
  // under way have shutdown_grace_ms to finish, then they are ended with UNAVAILABLE. Returns when nothing
  // runs any more. Idempotent.
  void Shutdown();

  RpcCalls& calls() { return calls_; }
  const Backend& backend() const { return backend_; }

 private:
  Server(const Model& model, const Tokenizer* tokenizer, MemoryStore& store, ServerOptions options,
         std::shared_ptr<grpc::ServerCredentials> credentials, std::unique_ptr<Access> access);
  absl::Status Listen();
  void SetServing(bool serving);

  const ServerOptions options_;
  const std::shared_ptr<grpc::ServerCredentials> credentials_;
  const std::unique_ptr<Access> access_;  // null: no file
  RpcCalls calls_;
  Engine engine_;
  MemoryMaker maker_;
  std::stop_source draining_;
  std::stop_source stopping_;
  Worker worker_;
  Worker long_worker_;
  Backend backend_;
  InferenceService inference_service_;
  MemoryService memory_service_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;

  std::mutex mutex_;  // guards what follows
  std::condition_variable stopped_;
  bool shutting_down_ = false;
  bool shut_down_ = false;
};

}  // namespace mtm

#endif  // MTM_SERVER_RPC_SERVER_H_
