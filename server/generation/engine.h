// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_GENERATION_ENGINE_H_
#define MTM_SERVER_GENERATION_ENGINE_H_

#include <deque>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "server/generation/request.h"
#include "server/model/model.h"
#include "server/model/sequence.h"
#include "server/text/tokenizer.h"

namespace mtm {

// Work for the engine. All calls come from the engine's thread.
class Task {
 public:
  virtual ~Task() = default;

  // Sequences for the next step, each with pending tokens. None: the task rests, until Engine::Wake, or is finished.
  virtual std::vector<Sequence*> Prepare() = 0;
  // That step was run.
  virtual void Advance() = 0;
  // It was not, or the engine shuts down; the task is finished.
  virtual void Fail(const absl::Status& status) = 0;
  virtual bool finished() const = 0;
};

// One thread that runs all forward passes. Every round steps all tasks that are ready, together. Thread-safe.
class Engine {
 public:
  struct Options {
    size_t max_tasks = 64;  // admitted at once; the others wait in the order they came
  };

  // `model` outlives the engine, and so does `tokenizer`, which is null for a model without one.
  Engine(const Model& model, const Tokenizer* tokenizer, Options options);
  // Fails what is under way with UNAVAILABLE.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // After Shutdown, sinks get UNAVAILABLE. The sink lives until its OnDone was called.
  void Generate(GenerationRequest request, std::shared_ptr<GenerationSink> sink);
  void Score(ScoreRequest request, std::shared_ptr<ScoreSink> sink);

  // Runs the sequence's pending tokens; blocks the caller until that is done.
  absl::Status Step(Sequence& sequence);

  // Some sink has room again or was cancelled.
  void Wake();

  // Ends what is under way, with UNAVAILABLE, and takes nothing new. Idempotent.
  void Shutdown();

  const Model& model() const { return model_; }
  const Tokenizer* tokenizer() const { return tokenizer_; }

 private:
  void Submit(std::unique_ptr<Task> task);
  void Run();
  // Takes waiting tasks in; where there was no progress, waits for something to do. False: shut down.
  bool Admit(bool progress) ABSL_LOCKS_EXCLUDED(mutex_);
  // Steps every task that is ready. False: none was.
  bool StepActive();

  const Model& model_;
  const Tokenizer* const tokenizer_;
  const Options options_;

  absl::Mutex mutex_;
  std::deque<std::unique_ptr<Task>> waiting_ ABSL_GUARDED_BY(mutex_);
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
  bool shutdown_ ABSL_GUARDED_BY(mutex_) = false;

  std::vector<std::unique_ptr<Task>> active_;  // the engine thread's own
  std::thread thread_;
};

}  // namespace mtm

#endif  // MTM_SERVER_GENERATION_ENGINE_H_
