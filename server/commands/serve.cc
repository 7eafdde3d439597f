// SPDX-License-Identifier: Apache-2.0
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/commands/commands.h"
#include "server/commands/signals.h"
#include "server/commands/supervisor.h"
#include "server/machine_limits.h"
#include "server/metrics/monitoring_server.h"
#include "server/metrics/process_metrics.h"
#include "server/metrics/registry.h"
#include "server/model/threads.h"
#include "server/rpc/server.h"
#include "server/rpc/server_metrics.h"

namespace mtm {
namespace {

using ReadAgain = std::function<std::optional<ServeOptions>()>;

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
  if (options.device != "cpu" && options.server.engine.cache != DataType::kF32) {
    return absl::FailedPreconditionError(absl::StrCat("device \"", options.device,
                                                      "\": caches of other types than ",
                                                      NameOf(DataType::kF32), " are kept on the CPU alone"));
  }
  auto model = Model::Load(options.model, options.device, options.weights);
  if (!model.ok()) return model.status();
  const ModelConfig& config = (*model)->config();
  spdlog::info(
      "event=model_loaded model={} fingerprint={} layers={} heads={} context={} device={} weights={} "
      "cache={} threads={} seconds={:.3f}",
      FolderName(options.model), (*model)->fingerprint(), config.n_layer, config.n_head, config.n_ctx,
      (*model)->device(), NameOf((*model)->weight_type()), NameOf(options.server.engine.cache),
      ModelThreads(), SecondsSince(start));
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

// For those who watch: metrics and probes. Not ready until told.
class Monitoring {
 public:
  // Answers from here on where an address was given.
  absl::Status Start(const std::string& address) {
    if (address.empty()) return absl::OkStatus();
    auto server = MonitoringServer::Start(address, registry_);
    if (!server.ok()) return server.status();
    server_ = *std::move(server);
    spdlog::info("event=serving_metrics address={}", BoundAddress(address, server_->port()));
    return absl::OkStatus();
  }

  void SetReady(bool ready) {
    if (server_ != nullptr) server_->SetReady(ready);
  }

  ServerMetrics& metrics() { return metrics_; }

 private:
  MetricsRegistry registry_;
  const std::shared_ptr<void> process_ = registry_.AddCollector(CollectProcess);
  ServerMetrics metrics_{registry_};
  std::unique_ptr<MonitoringServer> server_;
};

void Reload(Server& server, MemoryStore& store, const ServeOptions& options, const ReadAgain& read_again) {
  server.ReloadAccess();
  if (!options.from_file) return;
  const std::optional<ServeOptions> now = read_again();
  if (!now) {
    spdlog::error("event=config_not_reloaded effect=\"log level and quotas stay\"");
    return;
  }
  store.SetQuotas(now->memories.quotas);
  spdlog::set_level(spdlog::level::info);  // for this line, whatever the levels before and after
  spdlog::info("event=config_reloaded log_level={} namespace_quotas={}", now->log_level,
               now->memories.quotas.of.size());
  spdlog::set_level(spdlog::level::from_str(now->log_level));
}

absl::Status RunUntilSignal(Server& server, MemoryStore& store, const ServeOptions& options,
                            const ReadAgain& read_again, Signals& signals, Monitoring& monitoring) {
  const std::shared_ptr<void> watch = monitoring.metrics().Watch(server.backend());
  monitoring.SetReady(true);
  signals.Serving();
  if (!options.port_file.empty()) {
    const absl::Status status = WritePortFile(options.port_file, server.port());
    if (!status.ok()) return status;
  }
  NotifySupervisor("READY=1");
  const char* signal = signals.Wait([&] { Reload(server, store, options, read_again); });
  spdlog::info("event=stopping signal={} grace_ms={}", signal, options.server.shutdown_grace_ms);
  NotifySupervisor("STOPPING=1");
  monitoring.SetReady(false);
  server.Shutdown();
  std::error_code ignored;
  if (!options.port_file.empty()) std::filesystem::remove(options.port_file, ignored);
  spdlog::info("event=stopped");
  return absl::OkStatus();
}

}  // namespace

absl::Status Serve(const ServeOptions& options, const ReadAgain& read_again) {
  const absl::Time start = absl::Now();
  const ServerOptions& files = options.server;
  Signals signals(
      /*with_hangup=*/options.from_file || !files.access_file.empty() || !files.tls.certificate.empty());
  SetUpLog(options.log_level);
  std::error_code ignored;  // a port file of a server that was killed would pass for ours
  if (!options.port_file.empty()) std::filesystem::remove(options.port_file, ignored);
  SetModelThreads(options.threads > 0 ? options.threads : std::min(ModelThreads(), MachineCpus()));
  Monitoring monitoring;
  const absl::Status watched = monitoring.Start(options.metrics_listen);
  if (!watched.ok()) return watched;

  const auto model = LoadModel(options);
  if (!model.ok()) return model.status();
  const auto tokenizer = LoadTokenizer(options.model);
  if (!tokenizer.ok()) return tokenizer.status();
  if (*tokenizer == nullptr) spdlog::warn("event=no_tokenizer effect=\"token ids only\"");
  const auto store = OpenStore(options);
  if (!store.ok()) return store.status();

  ServerOptions server_options = options.server;
  server_options.model_name = FolderName(options.model);
  server_options.observer = [&metrics = monitoring.metrics()](const RpcRecord& record) {
    LogRpc(record);
    metrics.Observe(record);
  };
  const auto server = Server::Start(**model, tokenizer->get(), **store, std::move(server_options));
  if (!server.ok()) return server.status();
  spdlog::info("event=serving address={} version={} seconds={:.3f}",
               BoundAddress(options.server.listen_address, (*server)->port()), MTM_VERSION,
               SecondsSince(start));
  return RunUntilSignal(**server, **store, options, read_again, signals, monitoring);
}

}  // namespace mtm
