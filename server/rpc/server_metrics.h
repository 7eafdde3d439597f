// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_SERVER_METRICS_H_
#define MTM_SERVER_RPC_SERVER_METRICS_H_

#include <memory>

#include "server/metrics/registry.h"
#include "server/rpc/backend.h"
#include "server/rpc/rpc_calls.h"

namespace mtm {

// What is measured of a server, as `mtm_...` in a registry, which outlives this. Thread-safe.
class ServerMetrics {
 public:
  explicit ServerMetrics(MetricsRegistry& registry);

  // Counts an rpc that has ended.
  void Observe(const RpcRecord& record);

  // Reads off `server`, which outlives the handle, at each scrape until the handle goes.
  [[nodiscard]] std::shared_ptr<void> Watch(const Backend& server);

 private:
  MetricsRegistry& registry_;
  MetricFamily<Counter>& rpcs_;
  MetricFamily<Histogram>& rpc_duration_;
  Histogram& queue_;
  Histogram& first_token_;
  Histogram& per_token_;
  Counter& prompt_tokens_;
  Counter& reused_prompt_tokens_;
  Counter& generated_tokens_;
  Counter& tokens_heads_;
  Counter& tokens_heads_changed_;
  Counter& memory_seconds_;
};

}  // namespace mtm

#endif  // MTM_SERVER_RPC_SERVER_METRICS_H_
