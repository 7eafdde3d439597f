// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/server_metrics.h"

#include <map>
#include <string>
#include <vector>

namespace mtm {
namespace {

using Type = Exposition::Type;

const std::vector<double> kSeconds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                      0.5,   1,      2.5,   5,    10,    30,   60,  300};

void CollectInfo(const Backend& server, Exposition& out) {
  out.Family("mtm_build_info", "The server's version; always 1.", Type::kGauge);
  out.Sample(1, {{"version", MTM_VERSION}});
  out.Family("mtm_model_info", "The model that is served; always 1.", Type::kGauge);
  out.Sample(1, {{"model", server.model_name},
                 {"fingerprint", server.info.fingerprint},
                 {"device", server.model.device()}});
}

void CollectRequests(const EngineStats& stats, Exposition& out) {
  out.Gauge("mtm_requests_waiting", "Requests that wait for a place.", static_cast<double>(stats.waiting));
  out.Family("mtm_requests_refused_total", "Requests that never ran.", Type::kCounter);
  const std::pair<const char*, int64_t> reasons[] = {{"too_large", stats.refused.too_large},
                                                     {"line_full", stats.refused.line_full},
                                                     {"client_limit", stats.refused.client_limit},
                                                     {"deadline", stats.refused.deadline},
                                                     {"max_wait", stats.refused.max_wait}};
  for (const auto& [reason, n] : reasons) out.Sample(static_cast<double>(n), {{"reason", reason}});
  out.Counter("mtm_requests_stalled_total", "Requests ended since their readers took nothing.",
              static_cast<double>(stats.stalled));
  out.Family("mtm_sequences", "Samples and scores in the engine; those of slow readers rest.", Type::kGauge);
  out.Sample(static_cast<double>(stats.running_sequences), {{"state", "running"}});
  out.Sample(static_cast<double>(stats.resting_sequences), {{"state", "resting"}});
  out.Gauge("mtm_cache_bytes", "Key-value caches, as far as they may grow.",
            static_cast<double>(stats.cache_bytes));
  out.Gauge("mtm_prompt_cache_bytes", "Prompts kept for others that begin in the same way.",
            static_cast<double>(stats.prompt_cache_bytes));
}

void CollectSteps(const EngineStats& stats, Exposition& out) {
  out.Family("mtm_step_duration_seconds", "Forward passes.", Type::kSummary);
  out.Sample(absl::ToDoubleSeconds(stats.step_time), {}, "_sum");
  out.Sample(static_cast<double>(stats.steps), {}, "_count");
  std::vector<double> bounds, counts;
  for (size_t i = 0; i < stats.batches.size(); ++i) {
    if (i + 1 < stats.batches.size()) bounds.push_back(static_cast<double>(size_t{1} << i));
    counts.push_back(static_cast<double>(stats.batches[i]));
  }
  out.Family("mtm_batch_size", "Sequences in a forward pass.", Type::kHistogram);
  out.Buckets(bounds, counts, static_cast<double>(stats.sequences));
  out.Counter("mtm_rows_total", "Rows through the model: of prompts, and one for each new token.",
              static_cast<double>(stats.rows));
}

void CollectStore(const MemoryStore& store, Exposition& out) {
  std::map<MemoryState, double> n;
  double bytes = 0;
  for (const auto& [name, record] : *store.catalog()) {
    ++n[record->state];
    for (const MemoryRecord::Version& version : record->versions)
      bytes += static_cast<double>(version.size_bytes);
  }
  out.Family("mtm_memories", "Named memories.", Type::kGauge);
  out.Sample(n[MemoryState::kOnDisk], {{"state", "on_disk"}});
  out.Sample(n[MemoryState::kResident], {{"state", "resident"}});
  out.Sample(n[MemoryState::kQuarantined], {{"state", "quarantined"}});
  out.Gauge("mtm_store_bytes",
            "All versions of all memories, as quotas count them: what several share, for each.", bytes);
  out.Gauge("mtm_resident_bytes", "Memories that are loaded.", static_cast<double>(store.resident_bytes()));
}

}  // namespace

ServerMetrics::ServerMetrics(MetricsRegistry& registry)
    : registry_(registry),
      rpcs_(registry.AddCounter("mtm_rpcs_total", "Rpcs that have ended.", {"rpc", "code"})),
      rpc_duration_(registry.AddHistogram("mtm_rpc_duration_seconds",
                                          "Rpcs that have ended, from begin to end.", kSeconds, {"rpc"})),
      queue_(registry
                 .AddHistogram("mtm_queue_seconds",
                               "Generations and scores that have ended: before their first step.", kSeconds)
                 .With({})),
      first_token_(
          registry
              .AddHistogram("mtm_time_to_first_token_seconds",
                            "Generations that have ended: up to the first token, the queue included.",
                            kSeconds)
              .With({})),
      per_token_(registry
                     .AddHistogram("mtm_time_per_token_seconds",
                                   "Generations that have ended: mean between the tokens of a sample.",
                                   kSeconds)
                     .With({})),
      prompt_tokens_(registry.AddCounter("mtm_prompt_tokens_total", "Of requests that have ended.").With({})),
      reused_prompt_tokens_(registry
                                .AddCounter("mtm_reused_prompt_tokens_total",
                                            "Of mtm_prompt_tokens_total, taken over from earlier prompts.")
                                .With({})),
      generated_tokens_(
          registry.AddCounter("mtm_generated_tokens_total", "Of requests that have ended.").With({})),
      tokens_heads_(
          registry.AddCounter("mtm_tokens_heads_total", "In layers with a memory; requests that have ended.")
              .With({})),
      tokens_heads_changed_(registry
                                .AddCounter("mtm_tokens_heads_changed_total",
                                            "Tokens-heads that a memory changed; requests that have ended.")
                                .With({})),
      memory_seconds_(
          registry
              .AddCounter("mtm_memory_seconds_total",
                          "Selecting tokens-heads, searching and mixing; requests that have ended.")
              .With({})) {}

void ServerMetrics::Observe(const RpcRecord& record) {
  rpcs_.With({record.rpc, absl::StatusCodeToString(record.status.code())}).Add();
  rpc_duration_.With({record.rpc}).Observe(absl::ToDoubleSeconds(record.duration));
  const Usage& usage = record.stats.usage;
  const Timings& timings = record.stats.timings;
  prompt_tokens_.Add(static_cast<double>(usage.prompt_tokens));
  reused_prompt_tokens_.Add(static_cast<double>(usage.reused_prompt_tokens));
  generated_tokens_.Add(static_cast<double>(usage.generated_tokens));
  tokens_heads_.Add(static_cast<double>(usage.tokens_heads_total));
  tokens_heads_changed_.Add(static_cast<double>(usage.tokens_heads_changed));
  memory_seconds_.Add(absl::ToDoubleSeconds(usage.memory_time));
  if (timings.prompt == absl::ZeroDuration()) return;  // its prompt was never run
  queue_.Observe(absl::ToDoubleSeconds(timings.queued));
  if (usage.generated_tokens == 0) return;
  first_token_.Observe(absl::ToDoubleSeconds(timings.queued + timings.prompt));
  if (timings.steps > 0) {
    per_token_.Observe(absl::ToDoubleSeconds(timings.generation) / static_cast<double>(timings.steps));
  }
}

std::shared_ptr<void> ServerMetrics::Watch(const Backend& server) {
  return registry_.AddCollector([&server](Exposition& out) {
    CollectInfo(server, out);
    out.Gauge("mtm_rpcs_active", "Rpcs under way.", server.calls.active());
    const EngineStats stats = server.engine.stats();
    CollectRequests(stats, out);
    CollectSteps(stats, out);
    CollectStore(server.store, out);
  });
}

}  // namespace mtm
