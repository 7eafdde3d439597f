// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_GENERATION_ENGINE_H_
#define MTM_SERVER_GENERATION_ENGINE_H_

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "server/generation/request.h"
#include "server/model/model.h"
#include "server/model/sequence.h"
#include "server/text/tokenizer.h"

namespace mtm {

// Work for the engine. All calls come from the engine's thread.
class Task {
 public:
  virtual ~Task() = default;

  // Sequences that it holds at once: what it counts for at admission.
  virtual size_t n_sequences() const = 0;
  // Nobody wants it any more; it is to be failed.
  virtual bool IsCancelled() { return false; }
  // Sequences for the next step, each with pending tokens. None: the task rests until Engine::Wake.
  virtual std::vector<Sequence*> Prepare() = 0;
  // That step was run.
  virtual void Advance() = 0;
  // It was not, or nobody wants it, or the engine shuts down; the task is finished.
  virtual void Fail(const absl::Status& status) = 0;
  virtual bool finished() const = 0;
};

// One thread that runs all forward passes. Every round steps all tasks that are ready, together; a task's first step,
// its prompt, is run by itself, one a round, so that what does not fit fails alone. Thread-safe.
class Engine {
 public:
  struct Options {
    // Sequences that may run at once, resting ones aside; further requests wait in the order they came. A request
    // of more is run when it is alone.
    size_t max_sequences = 64;
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

  // Runs the sequence's pending tokens; blocks the caller until that is done. Not held up by waiting requests.
  absl::Status Step(Sequence& sequence);

  // Some sink has room again or was cancelled.
  void Wake();

  // Ends what is under way, with UNAVAILABLE, and takes nothing new. Idempotent.
  void Shutdown();

  const Model& model() const { return model_; }
  const Tokenizer* tokenizer() const { return tokenizer_; }

 private:
  struct Active {
    std::unique_ptr<Task> task;
    bool started = false;  // its first step was run
    bool resting = false;
  };

  void Submit(std::unique_ptr<Task> task, bool urgent);
  void Run();
  // Takes waiting tasks in; where there was no progress, waits for something to do. False: shut down.
  bool Admit(bool progress);
  size_t RunningSequences() const;
  // Steps every task that is ready. False: none was.
  bool StepActive();
  void StepTasks(const std::vector<Active*>& tasks, const std::vector<Sequence*>& batch);

  const Model& model_;
  const Tokenizer* const tokenizer_;
  const Options options_;

  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_up_;
  std::deque<std::unique_ptr<Task>> waiting_;
  bool woken_ = false;
  bool shutdown_ = false;

  std::vector<Active> active_;  // the engine thread's own
  std::thread thread_;
};

}  // namespace mtm

#endif  // MTM_SERVER_GENERATION_ENGINE_H_
