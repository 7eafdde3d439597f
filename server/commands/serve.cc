// SPDX-License-Identifier: Apache-2.0
#include <pthread.h>
#include <signal.h>
#include <spdlog/spdlog.h>

#include <cstring>
#include <fstream>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/commands/commands.h"
#include "server/model/threads.h"
#include "server/rpc/server.h"

namespace mtm {
namespace {

// SIGTERM and SIGINT wait for the thread that asks for them; threads started later inherit that.
class StopSignals {
 public:
  StopSignals() {
    sigemptyset(&set_);
    sigaddset(&set_, SIGTERM);
    sigaddset(&set_, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set_, nullptr);
  }

  // After that a SIGINT ends the process at once. A SIGTERM changes nothing: supervisors send it twice.
  const char* Wait() {
    int number = 0;
    sigwait(&set_, &number);
    sigdelset(&set_, SIGTERM);
    pthread_sigmask(SIG_UNBLOCK, &set_, nullptr);
    return number == SIGTERM ? "SIGTERM" : "SIGINT";
  }

 private:
  sigset_t set_;
};

// A reader sees the whole file or none.
absl::Status WritePortFile(const std::filesystem::path& file, int port) {
  const std::filesystem::path temporary = file.string() + ".tmp";
  std::ofstream stream(temporary);
  stream << port << "\n";
  stream.close();
  std::error_code error;
  if (stream) std::filesystem::rename(temporary, file, error);
  if (stream && !error) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("cannot write the port file ", file.string(), ": ",
                                          error ? error.message() : std::strerror(errno)));
}

double SecondsSince(absl::Time start) { return absl::ToDoubleSeconds(absl::Now() - start); }

absl::StatusOr<std::unique_ptr<Model>> LoadModel(const ServeOptions& options) {
  const absl::Time start = absl::Now();
  auto model = Model::Load(options.model, options.device);
  if (!model.ok()) return model.status();
  const ModelConfig& config = (*model)->config();
  spdlog::info(
      "event=model_loaded model={} fingerprint={} layers={} heads={} context={} device={} seconds={:.3f}",
      FolderName(options.model), (*model)->fingerprint(), config.n_layer, config.n_head, config.n_ctx,
      (*model)->device(), SecondsSince(start));
  return model;
}

absl::StatusOr<std::unique_ptr<MemoryStore>> OpenStore(const ServeOptions& options) {
  const absl::Time start = absl::Now();
  auto store = MemoryStore::Open(options.store);
  if (!store.ok()) return store.status();
  spdlog::info("event=store_opened memories={} damaged={} seconds={:.3f}", (*store)->List().size(),
               (*store)->ListDamaged().size(), SecondsSince(start));
  return store;
}

std::string BoundAddress(const std::string& listen_address, int port) {
  return absl::StrCat(listen_address.substr(0, listen_address.rfind(':')), ":", port);
}

absl::Status RunUntilSignal(Server& server, const ServeOptions& options, StopSignals& signals) {
  if (!options.port_file.empty()) {
    const absl::Status status = WritePortFile(options.port_file, server.port());
    if (!status.ok()) return status;
  }
  const char* signal = signals.Wait();
  spdlog::info("event=stopping signal={} grace_ms={}", signal, options.server.shutdown_grace_ms);
  server.Shutdown();
  std::error_code ignored;
  if (!options.port_file.empty()) std::filesystem::remove(options.port_file, ignored);
  spdlog::info("event=stopped");
  return absl::OkStatus();
}

}  // namespace

absl::Status Serve(const ServeOptions& options) {
  const absl::Time start = absl::Now();
  StopSignals signals;
  SetUpLog(options.log_level);
  if (options.threads > 0) SetModelThreads(options.threads);

  const auto model = LoadModel(options);
  if (!model.ok()) return model.status();
  const auto tokenizer = LoadTokenizer(options.model);
  if (!tokenizer.ok()) return tokenizer.status();
  if (*tokenizer == nullptr) spdlog::warn("event=no_tokenizer effect=\"token ids only\"");
  const auto store = OpenStore(options);
  if (!store.ok()) return store.status();

  ServerOptions server_options = options.server;
  server_options.model_name = FolderName(options.model);
  const auto server = Server::Start(**model, tokenizer->get(), **store, std::move(server_options));
  if (!server.ok()) return server.status();
  spdlog::info("event=serving address={} version={} seconds={:.3f}",
               BoundAddress(options.server.listen_address, (*server)->port()), MTM_VERSION,
               SecondsSince(start));
  return RunUntilSignal(**server, options, signals);
}

}  // namespace mtm
