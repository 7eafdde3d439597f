// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_GENERATION_MEMORY_MAKER_H_
#define MTM_SERVER_GENERATION_MEMORY_MAKER_H_

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "memory_store/memory_store.h"
#include "server/generation/engine.h"

namespace mtm {

struct MemoryRequest {
  std::string name;
  std::vector<int32_t> leading;  // run in front of each window, not stored; fewer than n_ctx
  std::vector<int32_t> tokens;   // stored; not empty
  std::vector<int> layers;       // to keep; from 1, ascending, not empty
};

// Receives the progress of a memory in the making. Called on the maker's thread, which it must not block.
class MemorySink {
 public:
  virtual ~MemorySink() = default;
  virtual bool IsCancelled() = 0;
  virtual void OnProgress(int64_t tokens_done, int64_t tokens_total) = 0;
  // The last call, exactly once.
  virtual void OnDone(absl::StatusOr<std::shared_ptr<const Memory>> memory) = 0;
};

// Makes memories (METHOD 1), one at a time, in the order they were asked for: the text's windows through the engine,
// their keys and values into the store. Its own thread does the waiting and the writing. Thread-safe.
class MemoryMaker {
 public:
  // Both outlive the maker.
  MemoryMaker(Engine& engine, MemoryStore& store);
  // Ends what is under way with UNAVAILABLE; nothing of it stays.
  ~MemoryMaker();
  MemoryMaker(const MemoryMaker&) = delete;
  MemoryMaker& operator=(const MemoryMaker&) = delete;

  void Make(MemoryRequest request, std::shared_ptr<MemorySink> sink);

  // As the destructor; takes nothing new. Idempotent.
  void Shutdown();

 private:
  struct Job {
    MemoryRequest request;
    std::shared_ptr<MemorySink> sink;
  };
  void Run();
  absl::StatusOr<std::shared_ptr<const Memory>> MakeOne(const Job& job);
  bool IsShutdown() const;

  Engine& engine_;
  MemoryStore& store_;
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable wake_up_;
  std::deque<Job> jobs_;
  bool shutdown_ = false;

  std::thread thread_;
};

// The whole of a MemoryRequest at once, on the caller's thread: what tools and tests need.
absl::StatusOr<std::shared_ptr<const Memory>> MakeMemory(const Model& model, MemoryStore& store,
                                                         const MemoryRequest& request);

}  // namespace mtm

#endif  // MTM_SERVER_GENERATION_MEMORY_MAKER_H_
