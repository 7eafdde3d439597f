// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_MACHINE_LIMITS_H_
#define MTM_SERVER_MACHINE_LIMITS_H_

#include <cstdint>
#include <filesystem>

namespace mtm {

// Bytes of memory that this process may use: the machine's, or less in a container or a systemd unit with a
// limit (cgroup v2: proc(5), /proc/PID/cgroup).
int64_t MachineMemoryBytes(const std::filesystem::path& own_group = "/proc/self/cgroup",
                           const std::filesystem::path& groups = "/sys/fs/cgroup");

// CPUs whose time this process may use, at least 1: those that it may run on, or fewer where such a group has
// a quota (cpu.max), rounded up. More threads than these would use up a period's quota by waiting for each
// other.
int MachineCpus(const std::filesystem::path& own_group = "/proc/self/cgroup",
                const std::filesystem::path& groups = "/sys/fs/cgroup");

}  // namespace mtm

#endif  // MTM_SERVER_MACHINE_LIMITS_H_
