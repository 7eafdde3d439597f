// SPDX-License-Identifier: Apache-2.0
#include "server/machine_limits.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <thread>

namespace mtm {
namespace {

namespace fs = std::filesystem;

class MachineLimitsTest : public ::testing::Test {
 protected:
  MachineLimitsTest() { fs::remove_all(folder_); }
  ~MachineLimitsTest() override { fs::remove_all(folder_); }

  void SetOwnGroup(const std::string& lines) const {
    fs::create_directories(folder_);
    std::ofstream(folder_ / "own") << lines;
  }
  void SetLimit(const std::string& group, const std::string& limit) const {
    fs::create_directories(folder_ / "groups" / group);
    std::ofstream(folder_ / "groups" / group / "memory.max") << limit << "\n";
  }
  void SetQuota(const std::string& group, const std::string& quota) const {
    fs::create_directories(folder_ / "groups" / group);
    std::ofstream(folder_ / "groups" / group / "cpu.max") << quota << "\n";
  }
  int Cpus() const { return MachineCpus(folder_ / "own", folder_ / "groups"); }
  int64_t Bytes() const { return MachineMemoryBytes(folder_ / "own", folder_ / "groups"); }

  const int machine_cpus_ = MachineCpus("/nowhere", "/nowhere");
  const int64_t machine_ = MachineMemoryBytes("/nowhere", "/nowhere");
  const fs::path folder_ =
      fs::path(::testing::TempDir()) / ::testing::UnitTest::GetInstance()->current_test_info()->name();
};

TEST_F(MachineLimitsTest, WithoutGroupsItIsTheMachines) { EXPECT_GT(machine_, 64 << 20); }

TEST_F(MachineLimitsTest, TheLeastLimitOnTheWayUpCounts) {
  SetOwnGroup("4:memory:/old\n0::/system.slice/mtm.service\n");
  SetLimit("system.slice/mtm.service", "3000");
  EXPECT_EQ(Bytes(), 3000);
  SetLimit("system.slice", "2000");
  EXPECT_EQ(Bytes(), 2000);
  SetLimit("system.slice/mtm.service", "max");
  EXPECT_EQ(Bytes(), 2000);
  SetLimit("", "1000");
  EXPECT_EQ(Bytes(), 1000);
}

TEST_F(MachineLimitsTest, AContainerSeesItsOwnGroupAsTheRoot) {
  SetOwnGroup("0::/\n");
  SetLimit("", "5000");
  EXPECT_EQ(Bytes(), 5000);
}

TEST_F(MachineLimitsTest, WithoutALimitItIsTheMachines) {
  SetOwnGroup("0::/mtm\n");
  SetLimit("mtm", "max");
  EXPECT_EQ(Bytes(), machine_);
}

TEST_F(MachineLimitsTest, WithoutAQuotaCpusAreThoseThatItMayRunOn) {
  EXPECT_GE(machine_cpus_, 1);
  EXPECT_LE(machine_cpus_, static_cast<int>(std::thread::hardware_concurrency()));
  SetOwnGroup("0::/mtm\n");
  SetQuota("mtm", "max 100000");
  EXPECT_EQ(Cpus(), machine_cpus_);
  SetQuota("mtm", "100000000 100000");
  EXPECT_EQ(Cpus(), machine_cpus_);
}

TEST_F(MachineLimitsTest, TheLeastQuotaOnTheWayUpCountsRoundedUp) {
  SetOwnGroup("0::/pods/mtm\n");
  SetQuota("pods/mtm", "5000 100000");
  EXPECT_EQ(Cpus(), 1);
  SetQuota("pods/mtm", "120000 100000");
  EXPECT_EQ(Cpus(), std::min(2, machine_cpus_));
  SetQuota("pods", "50000 50000");
  EXPECT_EQ(Cpus(), 1);
}

TEST_F(MachineLimitsTest, AFileThatIsNoQuotaIsNone) {
  SetOwnGroup("0::/mtm\n");
  for (const std::string text : {"", "100000", "100000 0", "x y"}) {
    SetQuota("mtm", text);
    EXPECT_EQ(Cpus(), machine_cpus_) << text;
  }
}

}  // namespace
}  // namespace mtm
