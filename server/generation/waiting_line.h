// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_GENERATION_WAITING_LINE_H_
#define MTM_SERVER_GENERATION_WAITING_LINE_H_

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/generation/fair_queue.h"
#include "server/generation/task.h"

namespace mtm {

// Whose a request is, and how long it is of use.
struct Requester {
  std::string client;  // clients take turns; empty for all that nothing tells apart
  std::string
      identity;  // as the client proved it: prompts are shared within it; empty where none was asked for
  absl::Time deadline = absl::InfiniteFuture();
};

// A task, with what it counts for.
struct Admission {
  std::unique_ptr<Task> task;
  TaskCost cost;
  Requester requester;
  bool urgent = false;                              // the server's own; neither counted nor refused
  absl::Time last_moment = absl::InfiniteFuture();  // of waiting
};

// Requests that wait for a place, and the rules of who gets one. Not thread-safe.
class WaitingLine {
 public:
  struct Limits {
    // Sequences that may run at once. A request of more is run when it is alone.
    size_t max_sequences = 64;
    // Bytes of key-value caches held at once, by those that rest for a slow reader too.
    int64_t max_cache_bytes = int64_t{1} << 62;
    // Requests that may wait; further ones are refused.
    size_t max_waiting = 256;
    // Whoever has waited for so long is refused.
    absl::Duration max_wait = absl::InfiniteDuration();
    // Requests of one client that may wait or run, if something tells it from others.
    size_t max_client_requests = 128;
  };

  // Requests that were refused, by reason.
  struct Refusals {
    int64_t too_large = 0;  // its key-value cache never fits
    int64_t line_full = 0;
    int64_t client_limit = 0;
    int64_t deadline = 0;  // would come before its turn, or came
    int64_t max_wait = 0;
  };

  // What runs already.
  struct Load {
    size_t n_sequences = 0;  // without resting ones
    int64_t cache_bytes = 0;
    size_t n_tasks = 0;
  };

  explicit WaitingLine(Limits limits) : limits_(limits) {}

  // OK: it waits. RESOURCE_EXHAUSTED, mostly with a RetryDelay: too many wait, too many are this client's, or
  // it never fits. DEADLINE_EXCEEDED: it would wait longer than its deadline allows, as far as can be told. A
  // refused admission is left as it was.
  absl::Status Add(Admission& admission, absl::Time now);

  // The next one that fits beside `load`, or one without a task.
  Admission TakeNext(const Load& load);
  bool CanTake(const Load& load) const;

  struct Removed {
    Admission admission;
    absl::Status reason;
  };
  // Takes out those that are cancelled (CANCELLED), past their deadline (DEADLINE_EXCEEDED) or have waited
  // too long (RESOURCE_EXHAUSTED with a RetryDelay).
  std::vector<Removed> RemoveUnwanted(absl::Time now);
  // All of them (UNAVAILABLE).
  std::vector<Removed> RemoveAll();
  // When the first of them has waited too long or is past its deadline.
  absl::Time NextExpiry() const;

  // A request has left for good: taken or removed before, and finished now.
  void Finished(const Admission& admission, absl::Time now);

  size_t size() const { return queue_.size(); }
  const Refusals& refusals() const { return refusals_; }

 private:
  absl::Duration ExpectedWait() const;
  absl::Duration RetryDelayNow() const;
  absl::Status ReasonToRemove(const Admission& admission, absl::Time now);  // OK: none. Counts.
  bool Fits(const TaskCost& cost, const Load& load) const;

  const Limits limits_;
  std::deque<Admission> urgent_;
  FairQueue<std::shared_ptr<Admission>> queue_;
  std::map<std::string, size_t> n_of_client_;  // waiting and running
  Refusals refusals_;
  // Between two requests' ends while others wait: a moving average.
  absl::Duration interval_ = absl::ZeroDuration();
  absl::Time last_end_ = absl::InfinitePast();
};

}  // namespace mtm

#endif  // MTM_SERVER_GENERATION_WAITING_LINE_H_
