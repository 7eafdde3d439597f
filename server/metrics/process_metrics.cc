// SPDX-License-Identifier: Apache-2.0
#include "server/metrics/process_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <system_error>

namespace mtm {
namespace {

struct ProcessStat {
  double user_ticks = 0, system_ticks = 0;
  double start_ticks = 0;  // since the system was booted
  double virtual_bytes = 0, resident_pages = 0;
};

// proc(5): fields of /proc/self/stat, of which the second, the program's name in brackets, may hold anything.
ProcessStat ReadStat() {
  std::ifstream file("/proc/self/stat");
  std::string line;
  std::getline(file, line);
  std::istringstream fields(line.substr(line.rfind(')') + 1));
  ProcessStat stat;
  std::string text;
  for (int field = 3; fields >> text && field <= 24; ++field) {
    const auto number = [&text] { return std::stod(text); };
    if (field == 14) stat.user_ticks = number();
    if (field == 15) stat.system_ticks = number();
    if (field == 22) stat.start_ticks = number();
    if (field == 23) stat.virtual_bytes = number();
    if (field == 24) stat.resident_pages = number();
  }
  return stat;
}

// Seconds since the epoch.
double BootTime() {
  std::ifstream file("/proc/stat");
  for (std::string word; file >> word;) {
    double seconds = 0;
    if (word == "btime" && file >> seconds) return seconds;
  }
  return 0;
}

double CountDescriptors() {
  std::error_code error;
  const auto begin = std::filesystem::directory_iterator("/proc/self/fd", error);
  return error ? 0 : static_cast<double>(std::distance(begin, std::filesystem::directory_iterator()) - 1);
}

}  // namespace

void CollectProcess(Exposition& exposition) {
  const ProcessStat stat = ReadStat();
  const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  exposition.Counter("process_cpu_seconds_total", "User and system CPU time.",
                     (stat.user_ticks + stat.system_ticks) / ticks);
  exposition.Gauge("process_resident_memory_bytes", "Resident memory, mapped memories included.",
                   stat.resident_pages * static_cast<double>(sysconf(_SC_PAGESIZE)));
  exposition.Gauge("process_virtual_memory_bytes", "Virtual memory.", stat.virtual_bytes);
  exposition.Gauge("process_open_fds", "Open file descriptors.", CountDescriptors());
  exposition.Gauge("process_max_fds", "File descriptors that may be open at once.",
                   static_cast<double>(limit.rlim_cur));
  exposition.Gauge("process_start_time_seconds", "When the process began, in seconds since the epoch.",
                   BootTime() + stat.start_ticks / ticks);
}

}  // namespace mtm
