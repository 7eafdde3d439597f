// SPDX-License-Identifier: Apache-2.0
#include "server/generation/waiting_line.h"

#include <gtest/gtest.h>

#include <memory>

#include "server/generation/stop_reasons.h"

namespace mtm {
namespace {

class IdleTask : public Task {
 public:
  explicit IdleTask(bool cancelled) : cancelled_(cancelled) {}
  TaskCost cost() const override { return {}; }
  bool IsCancelled() override { return cancelled_; }
  std::vector<Sequence*> Prepare() override { return {}; }
  void Advance() override {}
  void Fail(const absl::Status&) override {}
  bool finished() const override { return false; }

 private:
  const bool cancelled_;
};

const absl::Time kNow = absl::FromUnixSeconds(1'000'000);

Admission Request(const std::string& client, TaskCost cost = {}, absl::Time deadline = absl::InfiniteFuture(),
                  bool cancelled = false) {
  return {std::make_unique<IdleTask>(cancelled), cost, {.client = client, .deadline = deadline}, false};
}

absl::Status Add(WaitingLine& line, Admission admission, absl::Time now = kNow) {
  return line.Add(admission, now);
}

std::vector<absl::StatusCode> CodesOf(const std::vector<WaitingLine::Removed>& removed) {
  std::vector<absl::StatusCode> codes;
  for (const WaitingLine::Removed& each : removed) codes.push_back(each.reason.code());
  return codes;
}

TEST(WaitingLineTest, TakesWhatFitsBesideTheLoad) {
  WaitingLine line({.max_sequences = 4, .max_cache_bytes = 100});
  ASSERT_TRUE(Add(line, Request("a", {.n_sequences = 2, .cache_bytes = 50})).ok());
  EXPECT_FALSE(line.CanTake({.n_sequences = 3, .cache_bytes = 0, .n_tasks = 1}));
  EXPECT_FALSE(line.CanTake({.n_sequences = 1, .cache_bytes = 60, .n_tasks = 1}));
  EXPECT_FALSE(
      line.CanTake({.n_sequences = 0, .cache_bytes = 60, .n_tasks = 1}));  // all rest, and hold their caches
  EXPECT_TRUE(line.CanTake({.n_sequences = 2, .cache_bytes = 50, .n_tasks = 1}));
  EXPECT_NE(line.TakeNext({.n_sequences = 2, .cache_bytes = 50, .n_tasks = 1}).task, nullptr);
  EXPECT_EQ(line.TakeNext({}).task, nullptr);
}

TEST(WaitingLineTest, OneClientMayNotHaveMoreThanItsShareUnderWay) {
  WaitingLine line({.max_client_requests = 2});
  ASSERT_TRUE(Add(line, Request("a")).ok());
  ASSERT_TRUE(Add(line, Request("a")).ok());
  const Admission running = line.TakeNext({});
  const absl::Status refused = Add(line, Request("a"));
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(RetryDelay(refused).has_value());
  EXPECT_EQ(line.refusals().client_limit, 1);
  EXPECT_TRUE(Add(line, Request("b")).ok());
  line.Finished(running, kNow);
  EXPECT_TRUE(Add(line, Request("a")).ok());
}

TEST(WaitingLineTest, WhoNothingTellsApartHaveNoShareOfTheirOwn) {
  WaitingLine line({.max_client_requests = 1});
  EXPECT_TRUE(Add(line, Request("")).ok());
  EXPECT_TRUE(Add(line, Request("")).ok());
}

TEST(WaitingLineTest, WhatCannotBeServedInTimeIsRefused) {
  WaitingLine line({});
  for (int i = 0; i < 60; ++i) ASSERT_TRUE(Add(line, Request("a")).ok());
  absl::Time now = kNow;
  for (int i = 0; i < 50; ++i) line.Finished(line.TakeNext({}), now += absl::Seconds(2));  // two seconds each
  // Ten wait: about twenty seconds.
  EXPECT_EQ(Add(line, Request("b", {}, now + absl::Seconds(10)), now).code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(line.refusals().deadline, 1);
  EXPECT_TRUE(Add(line, Request("b", {}, now + absl::Seconds(60)), now).ok());
}

TEST(WaitingLineTest, CancelledAndLateRequestsAreTakenOut) {
  WaitingLine line({});
  ASSERT_TRUE(Add(line, Request("a", {}, kNow + absl::Seconds(1))).ok());
  ASSERT_TRUE(Add(line, Request("b", {}, absl::InfiniteFuture(), /*cancelled=*/true)).ok());
  ASSERT_TRUE(Add(line, Request("c")).ok());
  EXPECT_EQ(line.NextExpiry(), kNow + absl::Seconds(1));
  EXPECT_EQ(CodesOf(line.RemoveUnwanted(kNow)), std::vector{absl::StatusCode::kCancelled});
  EXPECT_EQ(CodesOf(line.RemoveUnwanted(kNow + absl::Seconds(2))),
            std::vector{absl::StatusCode::kDeadlineExceeded});
  EXPECT_EQ(line.refusals().deadline, 1);
  EXPECT_EQ(line.size(), 1u);
  EXPECT_EQ(line.NextExpiry(), absl::InfiniteFuture());
  EXPECT_EQ(CodesOf(line.RemoveAll()), std::vector{absl::StatusCode::kUnavailable});
}

TEST(WaitingLineTest, WhoHasWaitedTooLongIsRefusedAndToldToComeAgain) {
  WaitingLine line({.max_wait = absl::Seconds(3)});
  ASSERT_TRUE(Add(line, Request("a")).ok());
  ASSERT_TRUE(Add(line, Request("a"), kNow + absl::Seconds(1)).ok());
  EXPECT_EQ(line.NextExpiry(), kNow + absl::Seconds(3));
  EXPECT_TRUE(line.RemoveUnwanted(kNow + absl::Milliseconds(2999)).empty());
  const std::vector<WaitingLine::Removed> removed = line.RemoveUnwanted(kNow + absl::Seconds(3));
  ASSERT_EQ(CodesOf(removed), std::vector{absl::StatusCode::kResourceExhausted});
  EXPECT_TRUE(RetryDelay(removed[0].reason).has_value());
  EXPECT_EQ(line.refusals().max_wait, 1);
  EXPECT_EQ(line.NextExpiry(), kNow + absl::Seconds(4));
}

TEST(WaitingLineTest, TheServersOwnWorkGoesFirstAndIsNeverRefused) {
  WaitingLine line({.max_waiting = 1});
  ASSERT_TRUE(Add(line, Request("a")).ok());
  EXPECT_FALSE(Add(line, Request("a")).ok());
  EXPECT_EQ(line.refusals().line_full, 1);
  Admission own{std::make_unique<IdleTask>(false), {}, {}, true};
  ASSERT_TRUE(line.Add(own, kNow).ok());
  EXPECT_TRUE(line.TakeNext({.n_sequences = 1000, .cache_bytes = 0, .n_tasks = 1}).urgent);
}

}  // namespace
}  // namespace mtm
