// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_GENERATION_ENGINE_H_
#define MTM_SERVER_GENERATION_ENGINE_H_

#include <array>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/generation/prompt_cache.h"
#include "server/generation/request.h"
#include "server/generation/task.h"
#include "server/generation/waiting_line.h"
#include "server/model/model.h"
#include "server/model/sequence.h"
#include "server/text/tokenizer.h"

namespace mtm {

struct TaskResources;

// What the engine is doing, and has done since it began.
struct EngineStats {
  size_t waiting = 0;             // requests
  size_t running_sequences = 0;   // without resting ones
  size_t resting_sequences = 0;   // for a slow reader
  int64_t cache_bytes = 0;        // of key-value caches, as far as they may grow
  WaitingLine::Refusals refused;  // requests that never ran
  int64_t stalled = 0;            // requests ended since their reader took nothing
  int64_t prompt_cache_bytes = 0;

  int64_t steps = 0;                 // forward passes
  int64_t sequences = 0;             // in them
  int64_t rows = 0;                  // prompts' and new tokens' rows in them
  absl::Duration step_time;          // in forward passes
  std::array<int64_t, 8> batches{};  // steps of at most 1, 2, 4, ... 64 sequences, and of more
};

// One thread that runs all forward passes. Every round it steps all tasks that are ready, together; prompts
// and steps of exact mode, which have many rows, go beside them a few layers a round, so that nobody waits
// for them for long. What a sequence gets does not depend on either. A second thread refuses who waits too
// long at that moment, in the middle of a round too. Thread-safe.
class Engine {
 public:
  struct Options {
    WaitingLine::Limits limits;
    // A request whose reader takes nothing for so long is ended, and its cache given to others.
    absl::Duration stall_timeout = absl::Minutes(1);
    DataType cache = DataType::kF32;  // of key-value caches; halves: on the CPU
    // Of prompts kept for others that begin in the same way; 0: none.
    int64_t max_prompt_cache_bytes = int64_t{1} << 28;
  };

  // `model` outlives the engine, and so does `tokenizer`, which is null for a model without one.
  Engine(const Model& model, const Tokenizer* tokenizer, Options options);
  // Fails what is under way with UNAVAILABLE.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // After Shutdown, sinks get UNAVAILABLE. Refused at once: RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED
  // (WaitingLine::Add). The sink lives until its OnDone was called, which may be before these return.
  void Generate(GenerationRequest request, std::shared_ptr<GenerationSink> sink, Requester requester = {});
  void Score(ScoreRequest request, std::shared_ptr<ScoreSink> sink, Requester requester = {});

  // Runs the sequence's pending tokens; blocks the caller until that is done. Not held up by waiting
  // requests.
  absl::Status Step(Sequence& sequence);

  // Some sink has room again or was cancelled.
  void Wake();

  // Ends what is under way, with UNAVAILABLE, and takes nothing new. Idempotent.
  void Shutdown();

  EngineStats stats() const;

  const Model& model() const { return model_; }
  const Tokenizer* tokenizer() const { return tokenizer_; }

 private:
  struct Active {
    Admission admission;
    bool started = false;  // its first step was run
    bool alone = false;    // its first step is not to be run with others'
    absl::Time resting_since = absl::InfiniteFuture();
    bool in_long_pass = false;

    Task& task() const { return *admission.task; }
    bool is_resting() const { return resting_since != absl::InfiniteFuture(); }
  };
  // A pass that goes on over several rounds.
  struct LongPass {
    std::unique_ptr<ForwardPass> pass;  // null: none
    std::vector<Active*> tasks;
    size_t n_sequences = 0;
    int64_t n_rows = 0;
    absl::Duration time;
  };

  TaskResources resources();
  void Submit(std::unique_ptr<Task> task, Requester requester, bool urgent);
  void Run();
  // Until the shutdown, refuses requests that wait, each when its time is over.
  void RefuseUnwanted();
  // Takes waiting tasks in; where there was no progress, waits for something to do. False: shut down.
  bool Admit(bool progress);
  // Until something can be done; releases the lock meanwhile.
  void WaitForWork(std::unique_lock<std::mutex>& lock, const WaitingLine::Load& load);
  WaitingLine::Load CurrentLoad() const;
  // When the first task has rested too long.
  absl::Time NextStall() const;

  // One round; false: there was nothing to do.
  bool Round();
  bool EndUnwanted();
  bool StepLight();
  bool AdvanceLongPass();
  void BeginLongPass();
  // Does its prompt wait for one pass rather than run the same rows beside another's?
  bool GainsFromOneOf(const Active& waiting, const std::vector<Active*>& tasks) const;
  // Tasks to be stepped together, and their sequences: newcomers; those that go on, of exact mode or not.
  std::vector<Active*> NextPrompts(std::vector<Sequence*>& batch);
  std::vector<Active*> NextSteps(bool exact, std::vector<Sequence*>& batch);
  void EndLongPass(const absl::Status& status);
  void Count(size_t n_sequences, int64_t n_rows, absl::Duration time);
  void RemoveFinished();

  const Model& model_;
  const Tokenizer* const tokenizer_;
  const Options options_;

  mutable std::mutex mutex_;              // guards what follows
  std::condition_variable wake_up_;       // the engine's thread
  std::condition_variable look_at_line_;  // the thread that refuses
  WaitingLine waiting_;
  bool woken_ = false;
  bool shutdown_ = false;
  EngineStats stats_;

  // The engine thread's own.
  PromptCache prompts_;
  std::list<Active> active_;
  LongPass long_pass_;
  bool exact_next_ = false;  // prompts and exact steps take turns

  std::thread thread_, refusing_thread_;
};

}  // namespace mtm

#endif  // MTM_SERVER_GENERATION_ENGINE_H_
