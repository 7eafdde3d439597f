// SPDX-License-Identifier: Apache-2.0
#include "tests/stress/process_usage.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "absl/strings/str_cat.h"

namespace mtm {
namespace {

constexpr size_t kFewestValues = 12;  // two in each sixth

int64_t Median(std::vector<int64_t> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

ProcessUsage ProcessUsage::Of(pid_t pid) {
  const std::filesystem::path folder = absl::StrCat("/proc/", pid);
  ProcessUsage usage;
  std::ifstream status(folder / "status");
  for (std::string key; status >> key; status.ignore(1000, '\n')) {
    if (key == "VmRSS:" && status >> usage.resident_bytes) usage.resident_bytes *= 1024;
    if (key == "Threads:") status >> usage.threads;
  }
  std::error_code error;
  const std::filesystem::directory_iterator descriptors(folder / "fd", error);
  if (!error) usage.descriptors = std::distance(begin(descriptors), end(descriptors));
  return usage;
}

std::optional<std::string> Growth(const std::string& name, const std::vector<int64_t>& values, double share,
                                  int64_t slack) {
  const size_t n = values.size(), third = n / 3, sixth = n / 6;
  if (n < kFewestValues) return absl::StrCat(name, " was measured ", n, " times only");
  const auto begin = values.begin() + static_cast<std::ptrdiff_t>(third);
  const int64_t before = Median({begin, begin + static_cast<std::ptrdiff_t>(sixth)});
  const int64_t after = Median({values.end() - static_cast<std::ptrdiff_t>(sixth), values.end()});
  const auto most = static_cast<int64_t>(static_cast<double>(before) * (1 + share)) + slack;
  if (after <= most) return std::nullopt;
  return absl::StrCat(name, " grew from ", before, " to ", after, ", above ", most);
}

}  // namespace mtm
