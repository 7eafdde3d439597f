// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/convert.h"

#include <span>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace mtm {
namespace {

void SetDuration(absl::Duration duration, google::protobuf::Duration* proto) {
  proto->set_seconds(absl::IDivDuration(duration, absl::Seconds(1), &duration));
  proto->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(duration)));
}

v1::TokenLogprob ToProto(const TokenLogprob& logprob, const Tokenizer* tokenizer) {
  v1::TokenLogprob proto;
  proto.set_token_id(logprob.id);
  if (tokenizer != nullptr) proto.set_token(std::string(tokenizer->TokenBytes(logprob.id)));
  proto.set_logprob(logprob.logprob);
  return proto;
}

v1::Mode ToProto(Mode mode) { return mode == Mode::kExact ? v1::MODE_EXACT : v1::MODE_CACHED; }

v1::MemoryUse ToProto(const MemoryUse& use) {
  v1::MemoryUse proto;
  const MemoryInfo& info = use.memory->info();
  proto.set_memory(absl::StrCat(info.name, "@", info.digest));
  proto.mutable_layers()->Add(use.layers.begin(), use.layers.end());
  proto.set_method(static_cast<v1::Method>(use.parameters.method));
  proto.set_k(use.parameters.k);
  proto.set_memory_fraction(use.parameters.memory_fraction);
  proto.set_bookkeeping_fraction(use.parameters.bookkeeping_fraction);
  proto.set_score_scale(use.parameters.score_scale);
  proto.set_residual_fraction(use.parameters.residual_fraction);
  proto.set_head_fraction(use.parameters.head_fraction);
  return proto;
}

std::string TextOf(int32_t id, const Tokenizer* tokenizer) {
  return tokenizer == nullptr ? "" : tokenizer->Decode(std::span(&id, 1));
}

// The uses of a request as they were applied, and how each memory is searched.
void AddUses(const std::vector<MemoryUse>& uses, v1::AppliedRequest& applied) {
  for (const MemoryUse& use : uses) {
    *applied.add_memory_uses() = ToProto(use);
    applied.add_memory_searches(use.memory->is_approximate() ? v1::MEMORY_SEARCH_APPROXIMATE
                                                             : v1::MEMORY_SEARCH_EXACT);
  }
}

void FillEntry(const Lookups& lookups, const TraceEntry& entry, const Memory& memory,
               const Tokenizer* tokenizer, v1::TraceEntry& proto) {
  proto.set_step(lookups.step);
  proto.set_layer(entry.layer);
  proto.set_head(entry.head);
  proto.set_position(entry.position);
  const int32_t id = lookups.context[static_cast<size_t>(entry.position)];
  proto.set_token_id(id);
  proto.set_text(TextOf(id, tokenizer));
  proto.set_attention(entry.attention);
  proto.set_own_weight(entry.own_weight);
  for (size_t i = 0; i < entry.neighbours.size(); ++i) {
    auto& neighbour = *proto.add_neighbours();
    const int32_t found = memory.token(entry.neighbours[i].position);
    neighbour.set_memory_position(entry.neighbours[i].position);
    neighbour.set_token_id(found);
    neighbour.set_text(TextOf(found, tokenizer));
    neighbour.set_distance(entry.neighbours[i].distance);
    neighbour.set_weight(entry.weights[i]);
  }
}

}  // namespace

v1::Usage ToProto(const Usage& usage) {
  v1::Usage proto;
  proto.set_prompt_tokens(usage.prompt_tokens);
  proto.set_generated_tokens(usage.generated_tokens);
  proto.set_tokens_heads_changed(usage.tokens_heads_changed);
  proto.set_tokens_heads_total(usage.tokens_heads_total);
  proto.set_reused_prompt_tokens(usage.reused_prompt_tokens);
  return proto;
}

v1::Timings ToProto(const Timings& timings) {
  v1::Timings proto;
  SetDuration(timings.queued, proto.mutable_queued());
  SetDuration(timings.prompt, proto.mutable_prompt());
  SetDuration(timings.generation, proto.mutable_generation());
  return proto;
}

v1::FinishReason ToProto(FinishReason reason) {
  switch (reason) {
    case FinishReason::kMaxTokens:
      return v1::FINISH_REASON_MAX_TOKENS;
    case FinishReason::kStop:
      return v1::FINISH_REASON_STOP;
    case FinishReason::kEndOfText:
      return v1::FINISH_REASON_END_OF_TEXT;
    case FinishReason::kContextFull:
      return v1::FINISH_REASON_CONTEXT_FULL;
    case FinishReason::kTimeLimit:
      return v1::FINISH_REASON_TIME_LIMIT;
  }
  return v1::FINISH_REASON_UNSPECIFIED;
}

v1::TokenDetail ToProto(const TokenDetail& detail, const Tokenizer* tokenizer) {
  v1::TokenDetail proto;
  *proto.mutable_chosen() = ToProto(detail.chosen, tokenizer);
  for (const TokenLogprob& logprob : detail.top) *proto.add_top() = ToProto(logprob, tokenizer);
  return proto;
}

v1::AppliedRequest ToApplied(const CheckedGeneration& checked) {
  const GenerationRequest& request = checked.request;
  v1::AppliedRequest applied;
  applied.set_leading_newline(checked.leading_newline);
  AddUses(request.context.uses, applied);
  v1::GenerationParameters& parameters = *applied.mutable_parameters();
  parameters.set_mode(ToProto(request.context.mode));
  parameters.set_max_tokens(request.max_tokens);
  parameters.set_sample_count(request.samples);
  parameters.mutable_sampling()->set_temperature(request.sampling.temperature);
  parameters.mutable_sampling()->set_top_k(request.sampling.top_k);
  parameters.mutable_sampling()->set_top_p(request.sampling.top_p);
  parameters.mutable_sampling()->set_seed(request.sampling.seed);
  for (const std::string& stop : request.stop) parameters.add_stop(stop);
  parameters.set_ignore_end_of_text(request.ignore_end_of_text);
  if (request.top_logprobs) parameters.set_top_logprobs(*request.top_logprobs);
  if (request.trace) parameters.mutable_trace()->set_max_entries(checked.max_trace_entries);
  return applied;
}

v1::AppliedRequest ToApplied(const CheckedScore& checked) {
  const ScoreRequest& request = checked.request;
  v1::AppliedRequest applied;
  applied.set_leading_newline(checked.leading_newline);
  AddUses(request.context.uses, applied);
  applied.mutable_parameters()->set_mode(ToProto(request.context.mode));
  applied.mutable_parameters()->set_top_logprobs(request.top_logprobs);
  return applied;
}

int64_t AppendTrace(const Lookups& lookups, const std::vector<MemoryUse>& uses, const Tokenizer* tokenizer,
                    int64_t max_entries, TraceEntryProtos& protos) {
  int64_t left_out = 0;
  for (const TraceEntry& entry : lookups.entries) {
    if (protos.size() >= max_entries) {
      ++left_out;
      continue;
    }
    FillEntry(lookups, entry, *uses[static_cast<size_t>(entry.use)].memory, tokenizer, *protos.Add());
  }
  return left_out;
}

}  // namespace mtm
