// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_GENERATION_REQUEST_H_
#define MTM_SERVER_GENERATION_REQUEST_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/model/memory_use.h"

namespace mtm {

// Requests are plain values that the door (rpc) has checked: everything here is within the range it states.

struct SamplingParameters {
  double temperature = 0.8;  // >= 0; 0 takes the most probable token, the lowest id on ties
  int top_k = 200;           // >= 0; 0 keeps all
  double top_p = 1;          // 0 < p <= 1
  uint64_t seed = 0;
};

// What the model is run on, for generating and for scoring.
struct Context {
  std::vector<int32_t> prompt;  // 1 .. n_ctx ids of the vocabulary
  std::vector<MemoryUse> uses;  // of this model, layers in range, kept and disjoint
  Mode mode = Mode::kCached;
};

struct GenerationRequest {
  Context context;
  int max_tokens = 50;  // >= 1
  int samples = 1;      // >= 1
  SamplingParameters sampling;
  std::vector<std::string> stop;  // none empty; needs a tokenizer
  bool ignore_end_of_text = false;
  std::optional<int> top_logprobs;  // >= 0
  bool trace = false;
  absl::Duration time_limit = absl::InfiniteDuration();  // from submission on: then it ends with what it has
};

struct ScoreRequest {
  Context context;
  std::vector<int32_t> continuation;  // not empty; in cached mode prompt + continuation <= n_ctx + 1
  int top_logprobs = 0;
};

struct TokenLogprob {
  int32_t id = 0;
  double logprob = 0;  // natural logarithm, under the raw logits
};

struct TokenDetail {
  TokenLogprob chosen;
  std::vector<TokenLogprob> top;  // most probable first
};

// What the memories changed in one step; empty unless a trace was asked for.
struct Lookups {
  int step = 0;  // from 0: the step whose token it led to
  std::vector<TraceEntry> entries;
  std::vector<int32_t> context;  // [context length]: the ids that the entries' positions mean
};

struct GeneratedToken {
  int sample = 0;
  int32_t id = 0;
  std::string text;  // completed by this token; may be empty
  std::optional<TokenDetail> detail;
  Lookups lookups;
};

enum class FinishReason { kMaxTokens, kStop, kEndOfText, kContextFull, kTimeLimit };

struct Usage {
  int64_t prompt_tokens = 0;
  int64_t reused_prompt_tokens = 0;  // of them; not run below the first memory, since another prompt was
  int64_t generated_tokens = 0;
  int64_t tokens_heads_changed = 0;
  int64_t tokens_heads_total = 0;
  absl::Duration memory_time;  // in selecting tokens-heads, looking up and mixing
};

struct Timings {
  absl::Duration queued;
  absl::Duration prompt;      // up to the first token
  absl::Duration generation;  // from the first token on
  int64_t steps = 0;          // after the first token
};

struct RequestStats {
  Usage usage;
  Timings timings;
};

// Receives what a generation makes. Called by one thread at a time, which it must not block: the engine's once the
// request runs; before, IsCancelled and OnDone come from who takes it in or refuses it.
class GenerationSink {
 public:
  virtual ~GenerationSink() = default;

  // False while the receiver has no room: the generation rests until Engine::Wake.
  virtual bool HasRoom() = 0;
  // True once nobody wants the rest: the generation ends within a step, with CANCELLED.
  virtual bool IsCancelled() = 0;

  virtual void OnToken(GeneratedToken token) = 0;
  // `text`: what was held back. `lookups`: of the step that drew the end-of-text token, which is no OnToken.
  virtual void OnSampleFinished(int sample, FinishReason reason, std::string text, Lookups lookups) = 0;
  // The last call, exactly once, whatever happens. An error's status says why it ended early.
  virtual void OnDone(const absl::Status& status, const RequestStats& stats) = 0;
};

// Receives a score, as GenerationSink does.
class ScoreSink {
 public:
  virtual ~ScoreSink() = default;
  virtual bool IsCancelled() = 0;
  virtual void OnDone(const absl::Status& status, std::vector<TokenDetail> tokens,
                      const RequestStats& stats) = 0;
};

}  // namespace mtm

#endif  // MTM_SERVER_GENERATION_REQUEST_H_
