// SPDX-License-Identifier: Apache-2.0
#include "server/generation/tasks.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/time/time.h"
#include "server/generation/sampling.h"

namespace mtm {
namespace {

// Of the sequence of a request that adds up to n_tokens to its prompt. The last token made is never run.
SequenceOptions OptionsFor(const ModelConfig& config, const Context& context, int64_t n_tokens,
                           DataType cache, bool trace) {
  const int64_t positions = static_cast<int64_t>(context.prompt.size()) + n_tokens - 1;
  return {.mode = context.mode,
          .uses = context.uses,
          .capacity = static_cast<int>(std::min<int64_t>(positions, config.n_ctx)),
          .cache = cache,
          .trace = trace};
}

TaskCost CostOf(const Context& context, int64_t n_tokens, int samples, const Prompt& prompt) {
  return {.n_sequences = static_cast<size_t>(samples),
          .n_rows = static_cast<int64_t>(context.prompt.size()) + samples * n_tokens,
          .cache_bytes = samples * prompt.cache_bytes()};
}

SharedPrompt Shared(const ModelConfig& config, const Context& context, DataType cache, std::string owner) {
  const int n_layers = LayersBelowMemory(config, context.uses);
  return {.owner = std::move(owner),
          .tokens = context.prompt,
          .n_layers = n_layers,
          .bytes_per_token = PromptPrefix::BytesPerToken(config, n_layers, cache)};
}

void AddStep(const Sequence& sequence, Usage& usage) {
  usage.tokens_heads_changed += sequence.tokens_heads_changed();
  usage.tokens_heads_total += sequence.tokens_heads_total();
  usage.memory_time += absl::FromChrono(sequence.memory_time());
}

// A checkpoint with broken numbers, or settings beyond what floats hold.
absl::Status NotFinite() { return absl::InternalError("the model's logits are not finite"); }

bool HasFiniteLogits(const Sequence& sequence) {
  const auto logits = sequence.logits();
  return std::all_of(logits.begin(), logits.end(), [](float logit) { return std::isfinite(logit); });
}

}  // namespace

void StatsClock::Started() { started_ = first_token_ = Clock::now(); }
void StatsClock::FirstToken() { first_token_ = Clock::now(); }

RequestStats StatsClock::Finish(Usage usage) const {
  return {usage,
          {absl::FromChrono(started_ - submitted_), absl::FromChrono(first_token_ - started_),
           absl::FromChrono(Clock::now() - first_token_), steps_}};
}

Prompt::Prompt(const TaskResources& resources, const Context& context, int64_t n_tokens, bool trace,
               std::string owner)
    : model_(resources.model),
      context_(context),
      options_(OptionsFor(model_.config(), context, n_tokens, resources.cache, trace)),
      shared_(Shared(model_.config(), context, resources.cache, std::move(owner))),
      cache_(resources.prompts) {}

int64_t Prompt::cache_bytes() const { return CacheBytes(model_.config(), options_); }

std::unique_ptr<Sequence> Prompt::Start() {
  found_ = cache_.Find(shared_);
  SequenceOptions options = options_;
  options.keep_prefix = cache_.IsWorthKeeping(shared_, found_.n_tokens);
  auto sequence = std::make_unique<Sequence>(model_, std::move(options));
  sequence->Append(context_.prompt);
  if (found_.prefix != nullptr) sequence->TakeOver(found_.prefix, found_.n_tokens);
  return sequence;
}

void Prompt::Keep(Sequence& sequence) {
  auto parent = std::exchange(found_.prefix, nullptr);  // not held beyond its place in the cache
  if (!cache_.IsWorthKeeping(shared_, found_.n_tokens)) return;
  auto prefix = PromptPrefix::Of(sequence, std::move(parent), found_.n_tokens);
  if (prefix.ok()) cache_.Add(shared_.owner, *std::move(prefix));  // else memory is short: do without
}

GenerateTask::GenerateTask(const TaskResources& resources, GenerationRequest request,
                           std::shared_ptr<GenerationSink> sink, std::string owner)
    : model_(resources.model),
      tokenizer_(resources.tokenizer),
      request_(std::move(request)),
      sink_(std::move(sink)),
      prompt_(resources, request_.context, request_.max_tokens, request_.trace, std::move(owner)) {
  usage_.prompt_tokens = static_cast<int64_t>(request_.context.prompt.size());
}

TaskCost GenerateTask::cost() const {
  return CostOf(request_.context, request_.max_tokens, request_.samples, prompt_);
}

std::vector<Sequence*> GenerateTask::Prepare() {
  if (samples_.empty()) {
    clock_.Started();
    sequence_ = prompt_.Start();
    return {sequence_.get()};
  }
  if (!sink_->HasRoom()) return {};
  std::vector<Sequence*> sequences;
  for (const auto& sample : samples_) sequences.push_back(&sample->sequence());
  return sequences;
}

void GenerateTask::Advance() {
  if (samples_.empty()) {
    StartSamples();
  } else {
    clock_.Stepped();
    for (const auto& sample : samples_) AddStep(sample->sequence(), usage_);
  }
  for (const auto& sample : samples_) {
    if (!HasFiniteLogits(sample->sequence())) return Fail(NotFinite());
  }
  const bool out_of_time = clock_.SinceSubmitted() >= request_.time_limit;
  for (const auto& sample : samples_) {
    AdvanceSample(*sample);
    if (out_of_time && !sample->finish()) FinishSample(*sample, FinishReason::kTimeLimit);
  }
  std::erase_if(samples_, [](const auto& sample) { return sample->finish().has_value(); });
  if (!samples_.empty()) return;
  finished_ = true;
  sink_->OnDone(absl::OkStatus(), clock_.Finish(usage_));
}

void GenerateTask::StartSamples() {
  clock_.FirstToken();
  AddStep(*sequence_, usage_);
  usage_.reused_prompt_tokens = prompt_.n_taken_over();
  prompt_.Keep(*sequence_);
  for (int index = 0; index < request_.samples; ++index) {
    const bool is_last = index + 1 == request_.samples;
    samples_.push_back(std::make_unique<Sample>(request_, tokenizer_, model_.config(), index,
                                                is_last ? std::move(sequence_) : sequence_->Fork()));
  }
}

void GenerateTask::AdvanceSample(Sample& sample) {
  if (auto token = sample.Next()) {
    ++usage_.generated_tokens;
    sink_->OnToken(*std::move(token));
  }
  if (sample.finish()) FinishSample(sample, *sample.finish());
}

void GenerateTask::FinishSample(Sample& sample, FinishReason reason) {
  sample.Finish(reason);
  sink_->OnSampleFinished(sample.index(), reason, sample.TakeRest(), sample.TakeLookups());
}

void GenerateTask::Fail(const absl::Status& status) {
  finished_ = true;
  sink_->OnDone(status, clock_.Finish(usage_));
}

ScoreTask::ScoreTask(const TaskResources& resources, ScoreRequest request, std::shared_ptr<ScoreSink> sink,
                     std::string owner)
    : request_(std::move(request)),
      sink_(std::move(sink)),
      prompt_(resources, request_.context, static_cast<int64_t>(request_.continuation.size()),
              /*trace=*/false, std::move(owner)) {
  usage_.prompt_tokens = static_cast<int64_t>(request_.context.prompt.size());
}

TaskCost ScoreTask::cost() const {
  return CostOf(request_.context, static_cast<int64_t>(request_.continuation.size()), 1, prompt_);
}

std::vector<Sequence*> ScoreTask::Prepare() {
  if (details_.empty()) {
    clock_.Started();
    sequence_ = prompt_.Start();
  }
  return {sequence_.get()};
}

void ScoreTask::Advance() {
  if (details_.empty()) {
    clock_.FirstToken();
    usage_.reused_prompt_tokens = prompt_.n_taken_over();
    prompt_.Keep(*sequence_);
  }
  if (!HasFiniteLogits(*sequence_)) return Fail(NotFinite());
  AddStep(*sequence_, usage_);
  const int32_t id = request_.continuation[details_.size()];
  details_.push_back(Describe(sequence_->logits(), id, request_.top_logprobs));
  if (details_.size() < request_.continuation.size()) return sequence_->Append({&id, 1});
  finished_ = true;
  sink_->OnDone(absl::OkStatus(), std::move(details_), clock_.Finish(usage_));
}

void ScoreTask::Fail(const absl::Status& status) {
  finished_ = true;
  sink_->OnDone(status, {}, clock_.Finish(usage_));
}

}  // namespace mtm
