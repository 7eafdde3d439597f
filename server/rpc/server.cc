// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <chrono>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/rpc/channelz.h"

namespace mtm {
namespace {

// For rpcs to hear of their end, after it was decided.
constexpr absl::Duration kFarewell = absl::Seconds(1);

// Loads and changes mostly wait for the disk: a few at once keep it busy, more would share it and all be
// later.
constexpr int kWorkerThreads = 4;

// So that one long pass does not keep a short one waiting; each may take a core for itself.
constexpr int kLongWorkerThreads = 2;

// Both are settings of the process in gRPC, and not thread-safe.
void EnablePlugins() {
  static const bool once = [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    return true;
  }();
  static_cast<void>(once);
}

// gRPC takes port 99999 for 34463.
absl::Status CheckAddress(const std::string& address) {
  if (address.starts_with("unix:")) return absl::OkStatus();
  const size_t colon = address.rfind(':');
  int port = -1;
  if (colon != std::string::npos && absl::SimpleAtoi(address.substr(colon + 1), &port) && port >= 0 &&
      port <= 65535) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("cannot listen on ", address, ": must be host:port with a port of 0 to 65535"));
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeCredentials(const ServerOptions& options) {
  if (!options.tls.certificate.empty()) return TlsCredentials(options.tls);
  if (IsLoopback(options.listen_address) || options.insecure_listen) {
    return grpc::InsecureServerCredentials();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "cannot listen on ", options.listen_address,
      ": without TLS texts and tokens could be read on the way; give --tls-cert and --tls-key, or "
      "--insecure-listen where the network is trusted"));
}

absl::StatusOr<std::unique_ptr<Access>> LoadAccess(const ServerOptions& options) {
  if (options.access_file.empty()) return nullptr;
  return Access::Load(options.access_file);
}

}  // namespace

Server::Server(const Model& model, const Tokenizer* tokenizer, MemoryStore& store, ServerOptions options,
               std::shared_ptr<grpc::ServerCredentials> credentials, std::unique_ptr<Access> access)
    : options_(std::move(options)),
      credentials_(std::move(credentials)),
      access_(std::move(access)),
      calls_(options_.observer, access_.get()),
      engine_(model, tokenizer, options_.engine),
      maker_(engine_, store),
      worker_(kWorkerThreads),
      long_worker_(kLongWorkerThreads),
      backend_{.model = model,
               .model_name = options_.model_name,
               .info = ModelInfo::Of(model.config(), model.fingerprint(), tokenizer),
               .store = store,
               .engine = engine_,
               .maker = maker_,
               .calls = calls_,
               .worker = worker_,
               .long_worker = long_worker_,
               .draining = draining_.get_token(),
               .stopping = stopping_.get_token(),
               .max_text_bytes = options_.max_text_bytes,
               .max_queued_messages = static_cast<size_t>(options_.max_queued_messages)},
      inference_service_(backend_),
      memory_service_(backend_) {}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const Model& model, const Tokenizer* tokenizer,
                                                      MemoryStore& store, ServerOptions options) {
  const absl::Status address = CheckAddress(options.listen_address);
  if (!address.ok()) return address;
  auto credentials = MakeCredentials(options);
  if (!credentials.ok()) return credentials.status();
  auto access = LoadAccess(options);
  if (!access.ok()) return access.status();
  EnablePlugins();
  std::unique_ptr<Server> server(
      new Server(model, tokenizer, store, std::move(options), *std::move(credentials), *std::move(access)));
  const absl::Status status = server->Listen();
  if (!status.ok()) return status;
  return server;
}

absl::Status Server::Listen() {
  if (options_.channelz) EnableChannelz();
  grpc::ServerBuilder builder;
  if (options_.channelz && access_ != nullptr) GuardChannelz(builder, *access_);
  builder.AddListeningPort(options_.listen_address, credentials_, &port_);
  builder.RegisterService(&inference_service_);
  builder.RegisterService(&memory_service_);
  builder.SetMaxReceiveMessageSize(options_.max_message_bytes);
  builder.SetResourceQuota(
      grpc::ResourceQuota("mtm").Resize(static_cast<size_t>(options_.max_network_bytes)));
  // A message that is unpacked takes what it says, before anybody knows who sent it.
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  // A client whose host is gone gives back its place after two minutes, not hours.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options_.max_concurrent_streams);
  // Connections that are held open for nothing are closed; whoever needs one again makes it.
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, 600'000);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 10'000);
  if (!options_.tls.client_ca.empty()) {
    // So that a client's certificate that has expired, or a CA that was taken out, does not serve for ever.
    // Rpcs under way go on.
    builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, 3'600'000);
  }
  // Otherwise a second server would share the port instead of being told that it is taken.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr || port_ == 0) {
    return absl::InvalidArgumentError(absl::StrCat("cannot listen on ", options_.listen_address,
                                                   ": no such address here, or it is in use"));
  }
  SetServing(true);
  return absl::OkStatus();
}

void Server::ReloadAccess() {
  if (access_ != nullptr) access_->Reload();
}

void Server::SetServing(bool serving) {
  grpc::HealthCheckServiceInterface* health = server_->GetHealthCheckService();
  health->SetServingStatus("", serving);
  health->SetServingStatus(v1::InferenceService::service_full_name(), serving);
  health->SetServingStatus(v1::MemoryService::service_full_name(), serving);
}

void Server::Shutdown() {
  {
    std::unique_lock lock(mutex_);
    if (std::exchange(shutting_down_, true)) {
      stopped_.wait(lock, [this] { return shut_down_; });
      return;
    }
  }
  if (server_ != nullptr) {
    SetServing(false);
    calls_.Drain();
    draining_.request_stop();
    calls_.WaitUntilIdle(absl::Now() + absl::Milliseconds(options_.shutdown_grace_ms));
  }
  stopping_.request_stop();
  maker_.Shutdown();
  engine_.Shutdown();
  if (server_ != nullptr) server_->Shutdown(absl::ToChronoTime(absl::Now() + kFarewell));
  // Jobs of rpcs that were given up.
  worker_.Shutdown();
  long_worker_.Shutdown();
  const std::lock_guard lock(mutex_);
  shut_down_ = true;
  stopped_.notify_all();
}

void Server::Wait() {
  std::unique_lock lock(mutex_);
  stopped_.wait(lock, [this] { return shut_down_; });
}

Server::~Server() { Shutdown(); }

}  // namespace mtm
