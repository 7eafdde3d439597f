// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_METRICS_MONITORING_SERVER_H_
#define MTM_SERVER_METRICS_MONITORING_SERVER_H_

#include <atomic>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/metrics/registry.h"

namespace mtm {

// A small HTTP port for those who watch: /metrics in Prometheus' text format; /healthz, 200 as long as the
// process answers; /readyz, 200 while it takes requests and 503 otherwise. Without TLS or credentials: for
// the loopback or a network of its own. Thread-safe.
class MonitoringServer {
 public:
  // Answers when it returns, not ready yet. `registry` outlives the server. `address` is host:port, port 0
  // for a free one, or [IPv6]:port. INVALID_ARGUMENT: malformed, no such address here, or in use.
  static absl::StatusOr<std::unique_ptr<MonitoringServer>> Start(const std::string& address,
                                                                 const MetricsRegistry& registry);
  ~MonitoringServer();

  int port() const;
  void SetReady(bool ready) { ready_.store(ready); }

 private:
  struct Http;
  MonitoringServer();

  std::atomic<bool> ready_ = false;
  std::unique_ptr<Http> http_;
};

}  // namespace mtm

#endif  // MTM_SERVER_METRICS_MONITORING_SERVER_H_
