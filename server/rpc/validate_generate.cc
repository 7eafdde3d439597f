// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/validate_generate.h"

#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/rpc/field_errors.h"
#include "server/rpc/validate_tokens.h"
#include "server/rpc/validate_uses.h"

namespace mtm {
namespace {

constexpr Range kMaxTokens{1, 100000};
constexpr Range kSamples{1, 64};
constexpr Range kTopLogprobs{0, 100};
constexpr Range kTraceEntries{1, 100000};
constexpr int kDefaultTraceEntries = 1000;
constexpr int kMaxStops = 16;
constexpr size_t kMaxStopBytes = 1000;
constexpr int kMaxContinuation = 100000;
// Of one reply, over all samples: what is gathered until it is sent.
constexpr int64_t kMaxDetails = 4'000'000;

uint64_t DrawSeed() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

Mode ReadMode(const std::string& field, v1::Mode mode, FieldErrors& errors) {
  if (mode == v1::MODE_EXACT) return Mode::kExact;
  if (mode != v1::MODE_CACHED && mode != v1::MODE_UNSPECIFIED) {
    errors.Add(field, absl::StrCat("is ", static_cast<int>(mode), "; must be MODE_EXACT or MODE_CACHED"));
  }
  return Mode::kCached;
}

SamplingParameters ReadSampling(const v1::SamplingParameters& proto, FieldErrors& errors) {
  SamplingParameters sampling;
  if (proto.has_temperature()) sampling.temperature = proto.temperature();
  if (proto.has_top_k()) sampling.top_k = proto.top_k();
  if (proto.has_top_p()) sampling.top_p = proto.top_p();
  sampling.seed = proto.has_seed() ? proto.seed() : DrawSeed();
  CheckNumber("parameters.sampling.temperature", sampling.temperature, Range{0}, errors);
  CheckNumber("parameters.sampling.top_k", sampling.top_k, Range{0}, errors);
  CheckNumber("parameters.sampling.top_p", sampling.top_p, Range{.low = 0, .high = 1, .above_low = true},
              errors);
  return sampling;
}

std::vector<std::string> ReadStops(const v1::GenerationParameters& proto, const ModelInfo& model,
                                   FieldErrors& errors) {
  if (proto.stop_size() > kMaxStops) {
    errors.Add("parameters.stop",
               absl::StrCat("has ", proto.stop_size(), " strings; at most ", kMaxStops, " are taken"));
  }
  if (proto.stop_size() > 0 && model.tokenizer == nullptr) {
    errors.Add("parameters.stop", "is text, and this model has no tokenizer");
  }
  for (int i = 0; i < proto.stop_size(); ++i) {
    if (!proto.stop(i).empty() && proto.stop(i).size() <= kMaxStopBytes) continue;
    errors.Add(absl::StrCat("parameters.stop[", i, "]"),
               absl::StrCat("has ", proto.stop(i).size(), " bytes; must have 1 to ", kMaxStopBytes));
  }
  return {proto.stop().begin(), proto.stop().end()};
}

void ReadParameters(const v1::GenerationParameters& proto, const ModelInfo& model, CheckedGeneration& checked,
                    FieldErrors& errors) {
  GenerationRequest& request = checked.request;
  request.context.mode = ReadMode("parameters.mode", proto.mode(), errors);
  if (proto.has_max_tokens()) request.max_tokens = proto.max_tokens();
  if (proto.has_sample_count()) request.samples = proto.sample_count();
  if (proto.has_top_logprobs()) {
    request.top_logprobs = proto.top_logprobs();
    CheckNumber("parameters.top_logprobs", proto.top_logprobs(), kTopLogprobs, errors);
  }
  CheckNumber("parameters.max_tokens", request.max_tokens, kMaxTokens, errors);
  CheckNumber("parameters.sample_count", request.samples, kSamples, errors);
  request.sampling = ReadSampling(proto.sampling(), errors);
  request.stop = ReadStops(proto, model, errors);
  if (proto.has_time_limit()) {
    request.time_limit =
        absl::Seconds(proto.time_limit().seconds()) + absl::Nanoseconds(proto.time_limit().nanos());
    CheckNumber("parameters.time_limit", absl::ToDoubleSeconds(request.time_limit),
                Range{.low = 0, .above_low = true}, errors);
  }
  request.ignore_end_of_text = proto.ignore_end_of_text();
  request.trace = proto.has_trace();
  checked.max_trace_entries =
      proto.trace().has_max_entries() ? proto.trace().max_entries() : kDefaultTraceEntries;
  CheckNumber("parameters.trace.max_entries", checked.max_trace_entries, kTraceEntries, errors);
}

// Generate's and Score's requests name prompts alike.
template <typename Proto>
bool LeadingNewline(const Proto& proto) {
  return proto.has_prompt() && (!proto.has_leading_newline() || proto.leading_newline());
}

template <typename Proto>
std::vector<int32_t> ReadPrompt(const Proto& proto, const ModelInfo& model, FieldErrors& errors) {
  TokenInput input{.text_field = "prompt", .ids_field = "prompt_tokens"};
  if (proto.has_prompt()) input.text = proto.prompt();
  if (proto.has_prompt_tokens()) input.ids = SpanOf(proto.prompt_tokens().ids());
  input.leading_newline = LeadingNewline(proto);
  input.max_tokens = model.config.n_ctx;
  return ReadTokens(input, model, errors);
}

std::vector<int32_t> ReadContinuation(const v1::ScoreRequest& proto, const ModelInfo& model,
                                      const Context& context, FieldErrors& errors) {
  TokenInput input{.text_field = "continuation", .ids_field = "continuation_tokens"};
  input.max_tokens = kMaxContinuation;
  input.max_reason = "are scored at once";
  if (proto.has_continuation()) input.text = proto.continuation();
  if (proto.has_continuation_tokens()) input.ids = SpanOf(proto.continuation_tokens().ids());
  if (context.mode == Mode::kCached) {
    // The last token is scored, not run; hence the one more. An over-long prompt has its own error.
    const int rest = model.config.n_ctx + 1 - static_cast<int>(context.prompt.size());
    if (rest > 0 && rest < kMaxContinuation) {
      input.max_tokens = rest;
      input.max_reason = "fit the context behind the prompt";
    }
  }
  return ReadTokens(input, model, errors);
}

}  // namespace

absl::StatusOr<CheckedGeneration> CheckGenerate(const v1::GenerateRequest& proto, const ModelInfo& model,
                                                MemoryStore& store, const Principal& principal) {
  FieldErrors errors;
  CheckedGeneration checked;
  Context& context = checked.request.context;
  context.prompt = ReadPrompt(proto, model, errors);
  checked.leading_newline = LeadingNewline(proto);
  context.uses = ReadMemoryUses(proto.memory_uses(), model.config, errors);
  ReadParameters(proto.parameters(), model, checked, errors);
  if (!errors.empty()) return errors.ToStatus();
  const absl::Status status = FindMemories(proto.memory_uses(), store, model, principal, context.uses);
  if (!status.ok()) return status;
  return checked;
}

absl::Status CheckReplySize(const GenerationRequest& request) {
  FieldErrors errors;
  const int64_t details =
      int64_t{request.max_tokens} * request.samples * (request.top_logprobs.value_or(0) + 1);
  if (details > kMaxDetails) {
    errors.Add("parameters", absl::StrCat("max_tokens * sample_count * (top_logprobs + 1) is ", details,
                                          "; at most ", kMaxDetails, " fit a reply; stream it instead"));
  }
  return errors.ToStatus();
}

absl::StatusOr<CheckedScore> CheckScore(const v1::ScoreRequest& proto, const ModelInfo& model,
                                        MemoryStore& store, const Principal& principal) {
  FieldErrors errors;
  CheckedScore checked{.leading_newline = LeadingNewline(proto)};
  ScoreRequest& request = checked.request;
  request.context.mode = ReadMode("mode", proto.mode(), errors);
  request.context.prompt = ReadPrompt(proto, model, errors);
  request.continuation = ReadContinuation(proto, model, request.context, errors);
  request.context.uses = ReadMemoryUses(proto.memory_uses(), model.config, errors);
  request.top_logprobs = proto.top_logprobs();
  CheckNumber("top_logprobs", proto.top_logprobs(), kTopLogprobs, errors);
  if (!errors.empty()) return errors.ToStatus();
  const absl::Status status =
      FindMemories(proto.memory_uses(), store, model, principal, request.context.uses);
  if (!status.ok()) return status;
  return checked;
}

}  // namespace mtm
