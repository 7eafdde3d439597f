// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_GENERATION_MEMORY_MAKER_H_
#define MTM_SERVER_GENERATION_MEMORY_MAKER_H_

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "memory_store/memory_store.h"
#include "server/generation/engine.h"
#include "server/generation/memory_request.h"

namespace mtm {

// Carries out all changes of memories' content, one at a time, in the order they were asked for. Its own
// thread does the waiting and the writing; the engine runs the windows. Thread-safe.
class MemoryMaker {
 public:
  // Both outlive the maker.
  MemoryMaker(Engine& engine, MemoryStore& store);
  // Ends what is under way or waits with UNAVAILABLE; nothing of it stays.
  ~MemoryMaker();
  MemoryMaker(const MemoryMaker&) = delete;
  MemoryMaker& operator=(const MemoryMaker&) = delete;

  // A write with the id of one that is under way or waits joins that one, and one with the id of one that
  // succeeded gets its result at once; the change itself is then ignored. A detached one is accepted, and
  // goes on without the sink. Any other ends early when all its sinks are cancelled. Errors as MakeMemory's;
  // UNAVAILABLE: shut down; CANCELLED; INVALID_ARGUMENT: the id is that of a deletion.
  void Write(WriteRequest request, std::shared_ptr<WriteSink> sink);

  // Joins a write, or gets its result. NOT_FOUND: there is none with this id, or it failed.
  void Watch(const std::string& request_id, std::shared_ptr<WriteSink> sink);

  // A write with this id succeeded, is under way or waits.
  bool Knows(const std::string& request_id) const;

  // As the destructor; takes nothing new. Idempotent.
  void Shutdown();

 private:
  struct Job;
  using Result = absl::StatusOr<WriteResult>;

  // With the mutex held.
  Job* Find(const std::string& request_id) const;
  std::optional<Result> Remembered(const std::string& request_id) const;

  void Run();
  void Make(Job& job);
  absl::Status Check(Job& job);
  void OnProgress(const Job& job, int64_t done, int64_t total);

  Engine& engine_;
  MemoryStore& store_;
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable wake_up_;
  std::deque<std::unique_ptr<Job>> jobs_;  // the first one is under way
  bool shutdown_ = false;

  std::thread thread_;
};

}  // namespace mtm

#endif  // MTM_SERVER_GENERATION_MEMORY_MAKER_H_
