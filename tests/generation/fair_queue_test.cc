// SPDX-License-Identifier: Apache-2.0
#include "server/generation/fair_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace mtm {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> PopAll(FairQueue<std::string>& queue) {
  std::vector<std::string> items;
  while (!queue.empty()) items.push_back(queue.Pop());
  return items;
}

TEST(FairQueueTest, OneClientIsServedInOrder) {
  FairQueue<std::string> queue;
  for (const char* item : {"1", "2", "3"}) queue.Push("a", 1, item);
  EXPECT_THAT(PopAll(queue), ElementsAre("1", "2", "3"));
}

TEST(FairQueueTest, ManyRequestsOfOneDoNotDelayAnothersOne) {
  FairQueue<std::string> queue;
  for (const char* item : {"a1", "a2", "a3"}) queue.Push("a", 10, item);
  queue.Push("b", 10, "b1");
  EXPECT_THAT(PopAll(queue), ElementsAre("a1", "b1", "a2", "a3"));
}

TEST(FairQueueTest, TurnsGoByCost) {
  FairQueue<std::string> queue;
  for (const char* item : {"a1", "a2"}) queue.Push("a", 30, item);
  for (const char* item : {"b1", "b2", "b3", "b4"}) queue.Push("b", 10, item);
  EXPECT_THAT(PopAll(queue), ElementsAre("a1", "b1", "b2", "b3", "a2", "b4"));
}

TEST(FairQueueTest, WhoWasAwayHasNotSavedUp) {
  FairQueue<std::string> queue;
  for (int i = 0; i < 5; ++i) queue.Push("a", 100, "a");
  for (int i = 0; i < 4; ++i) queue.Pop();
  for (const char* item : {"b1", "b2", "b3"}) queue.Push("b", 100, item);
  EXPECT_THAT(PopAll(queue), ElementsAre("b1", "a", "b2", "b3"));
}

TEST(FairQueueTest, NewClientsWithoutEndDoNotKeepAnOldOneWaiting) {
  FairQueue<std::string> queue;
  queue.Push("old", 10, "first");
  queue.Pop();
  queue.Push("old", 10, "second");
  std::vector<std::string> served;
  for (int i = 0; i < 5; ++i) {
    queue.Push("a new one " + std::to_string(i), 10, "new");
    served.push_back(queue.Pop());
  }
  EXPECT_THAT(served, testing::Contains("second"));
}

TEST(FairQueueTest, WhatIsUnwantedIsTakenOut) {
  FairQueue<std::string> queue;
  for (const char* item : {"1", "2", "3"}) queue.Push("a", 1, item);
  std::vector<std::string> out;
  queue.RemoveUnless([](const std::string& item) { return item != "2"; },
                     [&](std::string item) { out.push_back(item); });
  EXPECT_THAT(out, ElementsAre("2"));
  EXPECT_EQ(queue.size(), 2u);
  EXPECT_THAT(PopAll(queue), ElementsAre("1", "3"));
}

}  // namespace
}  // namespace mtm
