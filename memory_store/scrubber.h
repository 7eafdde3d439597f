// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_MEMORY_STORE_SCRUBBER_H_
#define MTM_MEMORY_STORE_SCRUBBER_H_

#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "memory_store/segment.h"

namespace mtm {

// Checks segment after segment in a thread of its own, over and over, and never reads more than so many bytes
// a second. Ends with its destruction, promptly.
class Scrubber {
 public:
  using List = std::function<std::vector<std::string>()>;  // digests of what there is to check
  // Calls `progress` as it reads and ends with its error. What it finds is its own affair.
  using Check = std::function<void(const std::string& digest, const ByteProgress& progress)>;

  // Precondition: bytes_per_second > 0.
  Scrubber(int64_t bytes_per_second, List list, Check check);

 private:
  void Run(std::stop_token stop) const;

  const int64_t bytes_per_second_;
  const List list_;
  const Check check_;
  std::jthread thread_;  // the last member: it uses the others
};

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_SCRUBBER_H_
