// SPDX-License-Identifier: Apache-2.0
#include "server/machine_memory.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

namespace mtm {
namespace {

// The word "max", or no file: no limit.
int64_t LimitOf(const std::filesystem::path& group) {
  std::ifstream file(group / "memory.max");
  int64_t bytes = 0;
  return file >> bytes ? bytes : std::numeric_limits<int64_t>::max();
}

// Below the root; empty where there is no cgroup v2.
std::filesystem::path GroupOf(const std::filesystem::path& own_group) {
  constexpr char kVersion2[] = "0::/";
  std::ifstream file(own_group);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(kVersion2)) return line.substr(sizeof(kVersion2) - 1);
  }
  return {};
}

}  // namespace

int64_t MachineMemoryBytes(const std::filesystem::path& own_group, const std::filesystem::path& groups) {
  int64_t bytes = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  // The limits of the groups above count as well.
  for (std::filesystem::path group = GroupOf(own_group); !group.empty(); group = group.parent_path()) {
    bytes = std::min(bytes, LimitOf(groups / group));
  }
  return std::min(bytes, LimitOf(groups));
}

}  // namespace mtm
