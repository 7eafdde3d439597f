// SPDX-License-Identifier: Apache-2.0
#include "server/generation/memory_maker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <optional>
#include <utility>

#include "tests/generation/fixture.h"
#include "tests/support/notification.h"

namespace mtm {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class Recorder : public WriteSink {
 public:
  bool IsCancelled() override { return cancelled; }
  void OnProgress(int64_t done_tokens, int64_t) override {
    progress.push_back(done_tokens);
    if (const auto call = std::exchange(on_progress, nullptr)) call();
  }
  void OnDone(absl::StatusOr<WriteResult> made) override {
    result = std::move(made);
    done.Notify();
  }
  void OnAccepted() override {
    accepted = true;
    done.Notify();
  }

  absl::StatusCode code() {
    done.WaitForNotification();
    return result.status().code();
  }

  std::atomic<bool> cancelled = false;
  std::function<void()> on_progress;  // once
  std::vector<int64_t> progress;
  absl::StatusOr<WriteResult> result;
  bool accepted = false;
  Notification done;
};

class MemoryMakerTest : public GenerationTest {
 protected:
  static WriteRequest Create(const std::string& name, int n_tokens, const std::string& id = "") {
    return {.change = Request(name, n_tokens), .request_id = id};
  }
  static WriteRequest Detached(const std::string& name, int n_tokens, const std::string& id) {
    return {.change = Request(name, n_tokens), .request_id = id, .detached = true};
  }

  std::shared_ptr<Recorder> Watch(const std::string& id) {
    const auto recorder = std::make_shared<Recorder>();
    maker_->Watch(id, recorder);
    return recorder;
  }
  std::shared_ptr<Recorder> Write(WriteRequest request) {
    const auto recorder = std::make_shared<Recorder>();
    maker_->Write(std::move(request), recorder);
    return recorder;
  }
  // Calls `function` on the maker's thread when the write is under way.
  std::shared_ptr<Recorder> WriteAndCall(WriteRequest request, std::function<void(Recorder&)> function) {
    const auto recorder = std::make_shared<Recorder>();
    recorder->on_progress = [r = recorder.get(), function] { function(*r); };
    maker_->Write(std::move(request), recorder);
    return recorder;
  }
  void Reopen() {
    maker_.reset();
    store_.reset();
    store_ = MemoryStore::Open(folder_).value();
    maker_.emplace(engine_, *store_);
  }
  // Everything asked for so far has ended.
  void Drain() { EXPECT_EQ(Write(Create("barrier", 1)).get()->code(), absl::StatusCode::kOk); }

  Engine engine_{*model_, nullptr, {}};
  std::optional<MemoryMaker> maker_{std::in_place, engine_, *store_};
};

TEST_F(MemoryMakerTest, TellsHowFarALongTextIs) {
  const auto recorder = Write(Create("long", 100));  // windows of 48 - 1
  ASSERT_EQ(recorder->code(), absl::StatusCode::kOk) << recorder->result.status();
  EXPECT_THAT(recorder->progress, ElementsAre(0, 47, 94, 100));
  EXPECT_EQ(recorder->result->name, "long");
  EXPECT_EQ(recorder->result->digest, Remember("again", 100)->info().digest);
}

TEST_F(MemoryMakerTest, ProgressCountsWhatIsCopiedToo) {
  Remember("m", 20);
  const auto append = Write({.change = AppendRequest{.memory = "m", .tokens = Tokens(60, 2)}});
  ASSERT_EQ(append->code(), absl::StatusCode::kOk) << append->result.status();
  EXPECT_THAT(append->progress, ElementsAre(0, 20, 67, 80));
  const auto forget = Write({.change = ForgetRequest{.memory = "m", .content = TokenRange{25, 5}}});
  ASSERT_EQ(forget->code(), absl::StatusCode::kOk) << forget->result.status();
  EXPECT_THAT(forget->progress, ElementsAre(0, 20, 62, 75));
}

TEST_F(MemoryMakerTest, ACancelledOneLeavesNothing) {
  const auto recorder = WriteAndCall(Create("m", 400), [](Recorder& r) { r.cancelled = true; });
  EXPECT_EQ(recorder->code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(recorder->progress, ElementsAre(0));
  EXPECT_THAT(*store_->catalog(), IsEmpty());
  EXPECT_EQ(store_->Get("m").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(MemoryMakerTest, ATakenNameIsRefusedAndTheFirstStays) {
  const auto first = Remember("m", 10);
  EXPECT_EQ(Write(Create("m", 20))->code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(store_->Get("m").value()->info().digest, first->info().digest);
}

TEST_F(MemoryMakerTest, AnIdIsCarriedOutOnceAlsoAfterARestart) {
  const auto first = Write(Create("m", 10, "id 1"));
  ASSERT_EQ(first->code(), absl::StatusCode::kOk) << first->result.status();
  EXPECT_TRUE(maker_->Knows("id 1"));
  for (int i = 0; i < 2; ++i) {
    const auto again = Write(Create("other", 20, "id 1"));
    ASSERT_EQ(again->code(), absl::StatusCode::kOk) << again->result.status();
    EXPECT_EQ(again->result->name, "m");
    EXPECT_EQ(again->result->digest, first->result->digest);
    EXPECT_THAT(*store_->catalog(), SizeIs(1));
    Reopen();
  }
}

TEST_F(MemoryMakerTest, AnIdOfAFailedWriteMayBeUsedAgain) {
  Remember("m", 10);
  EXPECT_EQ(Write(Create("m", 20, "id"))->code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(Watch("id")->code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(maker_->Knows("id"));
  EXPECT_EQ(Write(Create("n", 20, "id"))->code(), absl::StatusCode::kOk);
}

TEST_F(MemoryMakerTest, AnIdOfADeletionIsNoWrites) {
  Remember("m", 10);
  ASSERT_TRUE(store_->Delete("m", {.request_id = "id"}).ok());
  EXPECT_EQ(Write(Create("m", 20, "id"))->code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Watch("id")->code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(MemoryMakerTest, ASecondOneWithTheIdJoinsTheFirst) {
  std::shared_ptr<Recorder> second, watcher;
  const auto first = WriteAndCall(Create("m", 100, "id"), [&](Recorder&) {
    EXPECT_TRUE(maker_->Knows("id"));
    second = Write(Create("n", 50, "id"));
    watcher = Watch("id");
  });
  ASSERT_EQ(first->code(), absl::StatusCode::kOk) << first->result.status();
  for (const auto& joined : {second, watcher}) {
    ASSERT_EQ(joined->code(), absl::StatusCode::kOk);
    EXPECT_EQ(joined->result->digest, first->result->digest);
    EXPECT_THAT(joined->progress, ElementsAre(47, 94, 100));
  }
  EXPECT_THAT(*store_->catalog(), SizeIs(1));
}

TEST_F(MemoryMakerTest, OneThatLeavesDoesNotEndItForTheOthers) {
  std::shared_ptr<Recorder> second;
  const auto first = WriteAndCall(Create("m", 100, "id"), [&](Recorder& r) {
    second = Write(Create("m", 100, "id"));
    r.cancelled = true;
  });
  EXPECT_EQ(first->code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(second->code(), absl::StatusCode::kOk);
}

TEST_F(MemoryMakerTest, WhenAllHaveLeftItEndsAndTheIdIsFree) {
  std::shared_ptr<Recorder> second;
  const auto first = WriteAndCall(Create("m", 400, "id"), [&](Recorder& r) {
    second = Write(Create("m", 400, "id"));
    r.cancelled = second->cancelled = true;
  });
  EXPECT_EQ(first->code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(second->code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(*store_->catalog(), IsEmpty());
  EXPECT_EQ(Write(Create("m", 10, "id"))->code(), absl::StatusCode::kOk);
}

TEST_F(MemoryMakerTest, ADetachedOneIsAcceptedAndGoesOnAlone) {
  const auto accepted = Write(Detached("m", 100, "id"));
  accepted->done.WaitForNotification();
  EXPECT_TRUE(accepted->accepted);
  accepted->cancelled = true;
  const auto watcher = Watch("id");
  ASSERT_EQ(watcher->code(), absl::StatusCode::kOk) << watcher->result.status();
  EXPECT_EQ(watcher->result->digest, store_->Find("m").value()->info.digest);
  // Its result is told at once.
  const auto again = Write(Detached("m", 100, "id"));
  ASSERT_EQ(again->code(), absl::StatusCode::kOk);
  EXPECT_FALSE(again->accepted);
}

TEST_F(MemoryMakerTest, ADetachedOneThatJoinsKeepsTheFirstGoing) {
  const auto first = WriteAndCall(Create("m", 400, "id"), [&](Recorder& r) {
    const auto second = Write(Detached("m", 400, "id"));
    second->done.WaitForNotification();
    EXPECT_TRUE(second->accepted);
    r.cancelled = true;
  });
  EXPECT_EQ(first->code(), absl::StatusCode::kCancelled);
  Drain();
  EXPECT_EQ(Watch("id")->code(), absl::StatusCode::kOk);
}

TEST_F(MemoryMakerTest, AnUnknownIdCannotBeWatched) {
  EXPECT_EQ(Watch("id")->code(), absl::StatusCode::kNotFound);
}

TEST_F(MemoryMakerTest, ShutdownEndsWhatIsUnderWayAndWhatWaits) {
  std::shared_ptr<Recorder> waiting;
  const auto under_way = WriteAndCall(Create("a", 400), [&](Recorder&) {
    waiting = Write(Create("b", 400));
    Write(Detached("c", 400, "id"));
    maker_->Shutdown();
  });
  EXPECT_EQ(under_way->code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(waiting->code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Write(Create("d", 4))->code(), absl::StatusCode::kUnavailable);
  maker_.reset();
  EXPECT_THAT(*store_->catalog(), IsEmpty());
}

}  // namespace
}  // namespace mtm
