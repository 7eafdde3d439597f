// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_TESTS_STRESS_PROCESS_USAGE_H_
#define MTM_TESTS_STRESS_PROCESS_USAGE_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mtm {

// What a process holds at a moment.
struct ProcessUsage {
  int64_t resident_bytes = 0;
  int64_t descriptors = 0;
  int64_t threads = 0;

  // Zeros where there is no such process, or not one of ours.
  static ProcessUsage Of(pid_t pid);
};

// How a quantity, measured at even intervals, grew after its first third, which is for warming up; nothing
// where the median of its last sixth is at most `share` and `slack` above that of the sixth after the first
// third. Medians: a moment's peak is no leak. Too few values to tell are a fault as well.
std::optional<std::string> Growth(const std::string& name, const std::vector<int64_t>& values, double share,
                                  int64_t slack);

}  // namespace mtm

#endif  // MTM_TESTS_STRESS_PROCESS_USAGE_H_
