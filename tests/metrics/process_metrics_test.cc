// SPDX-License-Identifier: Apache-2.0
#include "server/metrics/process_metrics.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <ctime>
#include <memory>
#include <string>

namespace mtm {
namespace {

constexpr size_t kMiB = 1 << 20;

double Read(const std::string& name) {
  Exposition exposition;
  CollectProcess(exposition);
  const size_t begin = exposition.text().find("\n" + name + " ");
  EXPECT_NE(begin, std::string::npos) << name << " is not in\n" << exposition.text();
  return begin == std::string::npos ? -1 : std::stod(exposition.text().substr(begin + name.size() + 2));
}

TEST(ProcessMetricsTest, SeesMemoryThatIsUsed) {
  const double before = Read("process_resident_memory_bytes");
  const auto bytes = std::make_unique<char[]>(64 * kMiB);
  std::memset(bytes.get(), 1, 64 * kMiB);
  EXPECT_GE(Read("process_resident_memory_bytes"), before + 60 * kMiB);
  EXPECT_GE(Read("process_virtual_memory_bytes"), Read("process_resident_memory_bytes"));
}

TEST(ProcessMetricsTest, CountsDescriptors) {
  const double before = Read("process_open_fds");
  const int descriptor = open("/dev/null", O_RDONLY);
  EXPECT_EQ(Read("process_open_fds"), before + 1);
  close(descriptor);
  EXPECT_EQ(Read("process_open_fds"), before);
  EXPECT_GT(Read("process_max_fds"), before);
}

TEST(ProcessMetricsTest, CountsTimeAndKnowsWhenItBegan) {
  const double before = Read("process_cpu_seconds_total");
  const clock_t start = std::clock();
  while (std::clock() - start < CLOCKS_PER_SEC / 20) {
  }
  EXPECT_GE(Read("process_cpu_seconds_total"), before + 0.02);
  const auto now = static_cast<double>(std::time(nullptr));
  EXPECT_LE(Read("process_start_time_seconds"), now + 2);
  EXPECT_GE(Read("process_start_time_seconds"), now - 600);
}

}  // namespace
}  // namespace mtm
