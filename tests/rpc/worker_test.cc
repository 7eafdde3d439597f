// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/worker.h"

#include <atomic>
#include <numeric>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/notification.h"

namespace mtm {
namespace {

TEST(WorkerTest, JobsRunAtOnceAsFarAsThereAreThreads) {
  Notification first, second, last;
  Worker worker(2);
  worker.Run([&] {
    first.Notify();
    second.WaitForNotification();  // comes only if the other one runs meanwhile
    last.Notify();
  });
  worker.Run([&] {
    first.WaitForNotification();
    second.Notify();
  });
  last.WaitForNotification();
}

TEST(WorkerTest, OneThreadKeepsTheOrder) {
  std::vector<int> order;
  {
    Worker worker(1);
    for (int i = 0; i < 100; ++i) worker.Run([&order, i] { order.push_back(i); });
  }
  std::vector<int> expected(100);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(order, expected);
}

TEST(WorkerTest, WhatIsQueuedIsDoneAtTheEnd) {
  std::atomic<int> done = 0;
  Worker worker(3);
  for (int i = 0; i < 100; ++i) worker.Run([&] { ++done; });
  worker.Shutdown();
  EXPECT_EQ(done, 100);
  worker.Run([&] { ++done; });
  worker.Shutdown();
  EXPECT_EQ(done, 100);
}

}  // namespace
}  // namespace mtm
