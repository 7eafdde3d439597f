// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_GENERATION_TASKS_H_
#define MTM_SERVER_GENERATION_TASKS_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "server/generation/prompt_cache.h"
#include "server/generation/request.h"
#include "server/generation/sample.h"
#include "server/generation/task.h"
#include "server/model/model.h"
#include "server/text/tokenizer.h"

namespace mtm {

// Time and counts of one request.
class StatsClock {
 public:
  void Started();     // its first step begins
  void FirstToken();  // its prompt was run
  void Stepped() { ++steps_; }
  RequestStats Finish(Usage usage) const;
  absl::Duration SinceSubmitted() const { return absl::FromChrono(Clock::now() - submitted_); }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point submitted_ = Clock::now(), started_ = submitted_, first_token_ = submitted_;
  int64_t steps_ = 0;
};

// What the tasks of an engine share. All outlive them.
struct TaskResources {
  const Model& model;
  const Tokenizer* tokenizer;  // null for a model without one
  DataType cache;              // of key-value caches
  PromptCache& prompts;
};

// The prompt of a request: a sequence that takes over what earlier prompts have in common with it.
class Prompt {
 public:
  // Of a request that adds up to `n_tokens` to it. `context` outlives the prompt. `owner`: who may share it.
  Prompt(const TaskResources& resources, const Context& context, int64_t n_tokens, bool trace,
         std::string owner);

  // A new sequence, with the tokens that are to be run pending.
  std::unique_ptr<Sequence> Start();
  // The sequence has run it: keeps it for others.
  void Keep(Sequence& sequence);

  const SharedPrompt& shared() const { return shared_; }
  int64_t cache_bytes() const;  // of one sequence
  int n_taken_over() const { return found_.n_tokens; }

 private:
  const Model& model_;
  const Context& context_;
  const SequenceOptions options_;
  const SharedPrompt shared_;
  PromptCache& cache_;
  PromptCache::Match found_;
};

class GenerateTask : public Task {
 public:
  GenerateTask(const TaskResources& resources, GenerationRequest request,
               std::shared_ptr<GenerationSink> sink, std::string owner);

  TaskCost cost() const override;
  const SharedPrompt* prompt() const override { return samples_.empty() ? &prompt_.shared() : nullptr; }
  bool is_exact() const override { return request_.context.mode == Mode::kExact; }
  bool IsCancelled() override { return sink_->IsCancelled(); }
  std::vector<Sequence*> Prepare() override;
  void Advance() override;
  void Fail(const absl::Status& status) override;
  bool finished() const override { return finished_; }

 private:
  void StartSamples();
  void AdvanceSample(Sample& sample);
  void FinishSample(Sample& sample, FinishReason reason);

  const Model& model_;
  const Tokenizer* const tokenizer_;
  const GenerationRequest request_;
  const std::shared_ptr<GenerationSink> sink_;
  StatsClock clock_;
  Usage usage_;
  Prompt prompt_;
  std::unique_ptr<Sequence> sequence_;            // until the prompt was run
  std::vector<std::unique_ptr<Sample>> samples_;  // unfinished ones
  bool finished_ = false;
};

class ScoreTask : public Task {
 public:
  ScoreTask(const TaskResources& resources, ScoreRequest request, std::shared_ptr<ScoreSink> sink,
            std::string owner);

  TaskCost cost() const override;
  const SharedPrompt* prompt() const override { return details_.empty() ? &prompt_.shared() : nullptr; }
  bool is_exact() const override { return request_.context.mode == Mode::kExact; }
  bool IsCancelled() override { return sink_->IsCancelled(); }
  std::vector<Sequence*> Prepare() override;
  void Advance() override;
  void Fail(const absl::Status& status) override;
  bool finished() const override { return finished_; }

 private:
  const ScoreRequest request_;
  const std::shared_ptr<ScoreSink> sink_;
  StatsClock clock_;
  Usage usage_;
  Prompt prompt_;
  std::unique_ptr<Sequence> sequence_;
  std::vector<TokenDetail> details_;
  bool finished_ = false;
};

}  // namespace mtm

#endif  // MTM_SERVER_GENERATION_TASKS_H_
