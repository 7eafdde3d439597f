// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_GENERATION_TASK_H_
#define MTM_SERVER_GENERATION_TASK_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/generation/prompt_cache.h"
#include "server/model/sequence.h"

namespace mtm {

// What a task takes, at most.
struct TaskCost {
  size_t n_sequences = 1;   // run at once
  int64_t n_rows = 1;       // through the model: its prompt, and each token of each sample
  int64_t cache_bytes = 0;  // held while it is under way
};

// Work for the engine. One thread at a time calls it: while it waits, who refuses it, by IsCancelled and
// Fail; then the engine's. cost() may be called at any time.
class Task {
 public:
  virtual ~Task() = default;

  virtual TaskCost cost() const = 0;
  // The prompt that is still to be run, where others may share it; null: none.
  virtual const SharedPrompt* prompt() const { return nullptr; }
  // Every step may recompute many rows: it is run in pieces, so as not to hold up the others.
  virtual bool is_exact() const { return false; }
  // Nobody wants it any more; it is to be failed.
  virtual bool IsCancelled() { return false; }
  // Sequences for the next step, each with pending tokens. None: the task rests until Engine::Wake. Called
  // again before its first Advance, it begins anew.
  virtual std::vector<Sequence*> Prepare() = 0;
  // That step was run.
  virtual void Advance() = 0;
  // It was not, or nobody wants it, or the engine shuts down; the task is finished.
  virtual void Fail(const absl::Status& status) = 0;
  virtual bool finished() const = 0;
};

}  // namespace mtm

#endif  // MTM_SERVER_GENERATION_TASK_H_
