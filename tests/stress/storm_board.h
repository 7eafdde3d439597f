// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_TESTS_STRESS_STORM_BOARD_H_
#define MTM_TESTS_STRESS_STORM_BOARD_H_

#include <algorithm>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "tests/stress/operation.h"
#include "tests/stress/perform.h"

namespace mtm {

// Which references, `name` or `name@digest`, must be found at a time, as far as a writer can tell: it says so
// before and after each of its changes. Thread-safe.
class StormBoard {
 public:
  // A change begins: what it takes away may be gone from now on.
  void Begin(const Names& before, const Names& after, const Digests& digests) {
    const std::lock_guard lock(mutex_);
    ++time_;
    const std::vector<std::string> left = References(after, digests);
    for (const std::string& reference : References(before, digests)) {
      if (std::ranges::find(left, reference) == left.end())
        gone_[reference] = {.is_gone = true, .time = time_};
    }
  }

  // It is answered: what it made is there.
  void End(const Names& after, const Digests& digests) {
    const std::lock_guard lock(mutex_);
    ++time_;
    present_ = References(after, digests);
    for (const std::string& reference : present_) gone_[reference].is_gone = false;
  }

  int64_t Now() const {
    const std::lock_guard lock(mutex_);
    return time_;
  }

  // Those that are there; may be none.
  std::vector<std::string> present() const {
    const std::lock_guard lock(mutex_);
    return present_;
  }

  // Whether it may have been missing at some moment from `since` until now.
  bool MayBeMissing(const std::string& reference, int64_t since) const {
    const std::lock_guard lock(mutex_);
    const auto found = gone_.find(reference);
    return found == gone_.end() || found->second.is_gone || found->second.time >= since;
  }

 private:
  struct Gone {
    bool is_gone = false;
    int64_t time = -1;  // when it last began to go
  };

  static std::vector<std::string> References(const Names& names, const Digests& digests) {
    std::vector<std::string> references;
    for (const auto& [name, state] : names) {
      references.push_back(name);
      for (const Content& content : state.versions) references.push_back(name + "@" + digests.Find(content));
    }
    return references;
  }

  mutable std::mutex mutex_;  // guards what follows
  int64_t time_ = 0;
  std::vector<std::string> present_;
  std::map<std::string, Gone> gone_;
};

}  // namespace mtm

#endif  // MTM_TESTS_STRESS_STORM_BOARD_H_
