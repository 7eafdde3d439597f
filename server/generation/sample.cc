// SPDX-License-Identifier: Apache-2.0
#include "server/generation/sample.h"

#include <utility>

#include "server/generation/philox.h"
#include "server/generation/sampling.h"

namespace mtm {

Sample::Sample(const GenerationRequest& request, const Tokenizer* tokenizer, const ModelConfig& config, int index,
               std::unique_ptr<Sequence> sequence)
    : request_(request),
      config_(config),
      index_(index),
      sequence_(std::move(sequence)),
      stop_filter_(request.stop) {
  if (tokenizer != nullptr) decoder_.emplace(*tokenizer);
}

std::optional<GeneratedToken> Sample::Next() {
  const std::span<const float> logits = sequence_->logits();
  const double draw = UniformDraw(request_.sampling.seed, static_cast<uint32_t>(index_), n_generated_);
  const int32_t id = SampleToken(logits, request_.sampling, draw);
  if (request_.trace) {
    lookups_ = {n_generated_, sequence_->trace(), {sequence_->tokens().begin(), sequence_->tokens().end()}};
  }
  if (!request_.ignore_end_of_text && id == config_.end_of_text) {
    finish_ = FinishReason::kEndOfText;
    return std::nullopt;
  }
  GeneratedToken token;
  token.sample = index_;
  token.id = id;
  ++n_generated_;
  token.text = AddText(id);
  if (request_.top_logprobs) token.detail = Describe(logits, id, *request_.top_logprobs);
  token.lookups = TakeLookups();
  finish_ = ReasonAfter();
  if (!finish_) sequence_->Append({&id, 1});
  return token;
}

std::string Sample::AddText(int32_t id) {
  return decoder_ ? stop_filter_.Append(decoder_->Append(id)) : std::string();
}

std::optional<FinishReason> Sample::ReasonAfter() const {
  if (stop_filter_.stopped()) return FinishReason::kStop;
  if (n_generated_ >= request_.max_tokens) return FinishReason::kMaxTokens;
  if (request_.context.mode == Mode::kCached && sequence_->length() >= config_.n_ctx) {
    return FinishReason::kContextFull;
  }
  return std::nullopt;
}

std::string Sample::TakeRest() {
  if (!decoder_ || finish_ == FinishReason::kStop) return {};
  // The last bytes may still complete a stop string only if they were text: an unfinished character never does.
  return stop_filter_.Append(decoder_->Finish()) + stop_filter_.Finish();
}

}  // namespace mtm
