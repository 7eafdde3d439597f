// SPDX-License-Identifier: Apache-2.0
#include "server/machine_memory.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

namespace mtm {
namespace {

namespace fs = std::filesystem;

class MachineMemoryTest : public ::testing::Test {
 protected:
  MachineMemoryTest() { fs::remove_all(folder_); }
  ~MachineMemoryTest() override { fs::remove_all(folder_); }

  void SetOwnGroup(const std::string& lines) const {
    fs::create_directories(folder_);
    std::ofstream(folder_ / "own") << lines;
  }
  void SetLimit(const std::string& group, const std::string& limit) const {
    fs::create_directories(folder_ / "groups" / group);
    std::ofstream(folder_ / "groups" / group / "memory.max") << limit << "\n";
  }
  int64_t Bytes() const { return MachineMemoryBytes(folder_ / "own", folder_ / "groups"); }

  const int64_t machine_ = MachineMemoryBytes("/nowhere", "/nowhere");
  const fs::path folder_ =
      fs::path(::testing::TempDir()) / ::testing::UnitTest::GetInstance()->current_test_info()->name();
};

TEST_F(MachineMemoryTest, WithoutGroupsItIsTheMachines) { EXPECT_GT(machine_, 64 << 20); }

TEST_F(MachineMemoryTest, TheLeastLimitOnTheWayUpCounts) {
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

TEST_F(MachineMemoryTest, AContainerSeesItsOwnGroupAsTheRoot) {
  SetOwnGroup("0::/\n");
  SetLimit("", "5000");
  EXPECT_EQ(Bytes(), 5000);
}

TEST_F(MachineMemoryTest, WithoutALimitItIsTheMachines) {
  SetOwnGroup("0::/mtm\n");
  SetLimit("mtm", "max");
  EXPECT_EQ(Bytes(), machine_);
}

}  // namespace
}  // namespace mtm
