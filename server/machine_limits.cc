// SPDX-License-Identifier: Apache-2.0
#include "server/machine_limits.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <limits>
#include <string>
#include <thread>

namespace mtm {
namespace {

namespace fs = std::filesystem;

// Below the root; empty where there is no cgroup v2.
fs::path GroupOf(const fs::path& own_group) {
  constexpr char kVersion2[] = "0::/";
  std::ifstream file(own_group);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(kVersion2)) return line.substr(sizeof(kVersion2) - 1);
  }
  return {};
}

// The least of a process's group and of those above it, whose limits count as well.
double LeastLimit(const fs::path& own_group, const fs::path& groups,
                  const std::function<double(const fs::path& group)>& limit_of) {
  double least = limit_of(groups);
  for (fs::path group = GroupOf(own_group); !group.empty(); group = group.parent_path()) {
    least = std::min(least, limit_of(groups / group));
  }
  return least;
}

// The word "max", or no file: no limit.
double MemoryLimit(const fs::path& group) {
  std::ifstream file(group / "memory.max");
  int64_t bytes = 0;
  return file >> bytes ? static_cast<double>(bytes) : std::numeric_limits<double>::infinity();
}

// Of microseconds in a period of so many.
double CpuLimit(const fs::path& group) {
  std::ifstream file(group / "cpu.max");
  double quota = 0, period = 0;
  return file >> quota >> period && period > 0 ? quota / period : std::numeric_limits<double>::infinity();
}

int AllowedCpus() {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) return CPU_COUNT(&allowed);
  return static_cast<int>(std::thread::hardware_concurrency());  // more than a set holds
}

}  // namespace

int64_t MachineMemoryBytes(const fs::path& own_group, const fs::path& groups) {
  const int64_t bytes = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  const double limit = LeastLimit(own_group, groups, MemoryLimit);
  return limit < static_cast<double>(bytes) ? static_cast<int64_t>(limit) : bytes;
}

int MachineCpus(const fs::path& own_group, const fs::path& groups) {
  const int cpus = std::max(1, AllowedCpus());
  const double limit = std::ceil(LeastLimit(own_group, groups, CpuLimit));
  return limit < cpus ? std::max(1, static_cast<int>(limit)) : cpus;
}

}  // namespace mtm
