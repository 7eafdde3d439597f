// SPDX-License-Identifier: Apache-2.0
#include <pthread.h>
#include <signal.h>
#include <spdlog/spdlog.h>

#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/commands/commands.h"
#include "server/model/threads.h"
#include "server/rpc/server.h"

namespace mtm {
namespace {

// SIGTERM and SIGINT, taken by a thread of their own; threads started later have them blocked. Until Wait is
// called they end the process at once, since loading can take long and leaves nothing half-done. SIGHUP too,
// if it means something: it ends a process that nobody taught better.
class Signals {
 public:
  explicit Signals(bool with_hangup) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (with_hangup) sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    std::thread([state = state_, set] { Take(*state, set); }).detach();
  }

  // Until the process is to stop; calls `on_hangup` meanwhile.
  const char* Wait(const std::function<void()>& on_hangup) {
    std::unique_lock lock(state_->mutex);
    state_->serving = true;
    for (;;) {
      state_->changed.wait(lock, [this] { return state_->number != 0 || state_->hangup; });
      if (state_->number != 0) break;
      state_->hangup = false;
      lock.unlock();
      on_hangup();
      lock.lock();
    }
    return state_->number == SIGTERM ? "SIGTERM" : "SIGINT";
  }

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable changed;
    bool serving = false;
    bool hangup = false;
    int number = 0;
  };

  // A second SIGINT ends the process at once. A second SIGTERM changes nothing: supervisors send it twice.
  static void Take(State& state, const sigset_t& set) {
    for (int number = 0; sigwait(&set, &number) == 0;) {
      const std::lock_guard lock(state.mutex);
      if (!state.serving || (state.number != 0 && number == SIGINT)) std::_Exit(128 + number);
      if (number == SIGHUP) {
        state.hangup = true;
      } else if (state.number == 0) {
        state.number = number;
      }
      state.changed.notify_one();
    }
  }

  const std::shared_ptr<State> state_ = std::make_shared<State>();
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
  auto store = MemoryStore::Open(options.store, options.memories);
  if (!store.ok()) return store.status();
  int quarantined = 0;
  for (const auto& [name, record] : *(*store)->catalog()) {
    if (record->state != MemoryState::kQuarantined) continue;
    ++quarantined;
    spdlog::warn("event=memory_quarantined memory={} reason=\"{}\"", name, absl::CEscape(record->reason));
  }
  spdlog::info(
      "event=store_opened memories={} quarantined={} resident_bytes={} max_resident_bytes={} read_only={} "
      "seconds={:.3f}",
      (*store)->catalog()->size(), quarantined, (*store)->resident_bytes(),
      options.memories.max_resident_bytes, options.memories.read_only, SecondsSince(start));
  return store;
}

std::string BoundAddress(const std::string& listen_address, int port) {
  return absl::StrCat(listen_address.substr(0, listen_address.rfind(':')), ":", port);
}

absl::Status RunUntilSignal(Server& server, const ServeOptions& options, Signals& signals) {
  if (!options.port_file.empty()) {
    const absl::Status status = WritePortFile(options.port_file, server.port());
    if (!status.ok()) return status;
  }
  const char* signal = signals.Wait([&] { server.ReloadAccess(); });
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
  Signals signals(/*with_hangup=*/!options.server.access_file.empty());
  SetUpLog(options.log_level);
  std::error_code ignored;  // a port file of a server that was killed would pass for ours
  if (!options.port_file.empty()) std::filesystem::remove(options.port_file, ignored);
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
