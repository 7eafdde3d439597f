// SPDX-License-Identifier: Apache-2.0
#include "server/generation/memory_maker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <optional>

#include "server/model/sequence.h"
#include "tests/generation/fixture.h"
#include "tests/support/notification.h"

namespace mtm {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class Recorder : public MemorySink {
 public:
  bool IsCancelled() override { return cancelled; }
  void OnProgress(int64_t done_tokens, int64_t) override {
    progress.push_back(done_tokens);
    if (on_progress) on_progress();
  }
  void OnDone(absl::StatusOr<std::shared_ptr<const Memory>> made) override {
    memory = std::move(made);
    done.Notify();
  }

  std::atomic<bool> cancelled = false;
  std::function<void()> on_progress;
  std::vector<int64_t> progress;
  absl::StatusOr<std::shared_ptr<const Memory>> memory;
  Notification done;
};

class MemoryMakerTest : public GenerationTest {
 protected:
  Engine engine_{*model_, nullptr, {}};
};

TEST_F(MemoryMakerTest, CutsALongTextIntoWindows) {
  MemoryMaker maker(engine_, *store_);
  const auto recorder = std::make_shared<Recorder>();
  maker.Make(Request("long", 100), recorder);  // windows of 48 - 1
  recorder->done.WaitForNotification();
  ASSERT_TRUE(recorder->memory.ok()) << recorder->memory.status();
  EXPECT_THAT(recorder->progress, ElementsAre(0, 47, 94, 100));
  EXPECT_EQ((*recorder->memory)->spec().n_tokens, 100);
  EXPECT_EQ((*recorder->memory)->info().digest, Remember("again", 100)->info().digest);
}

// METHOD 1: the rows of a window are those of a plain run of its tokens behind the leading ones.
TEST_F(MemoryMakerTest, StoresTheKeysAndValuesOfAPlainRun) {
  const MemoryRequest request = Request("m", 60);
  const auto memory = MakeMemory(*model_, *store_, request).value();
  Sequence sequence(*model_, {.capacity = 48});
  sequence.Append(request.leading);
  sequence.Append(std::span(request.tokens).subspan(47));  // the second window
  Sequence* const batch[] = {&sequence};
  ASSERT_TRUE(model_->Step(batch).ok());
  std::vector<float> keys(13 * 8), values(13 * 8);
  ASSERT_TRUE(sequence.CopyKeysValues(3, 2, 1, keys, values).ok());
  EXPECT_THAT(memory->keys(3, 2).subspan(47 * 8), ::testing::ElementsAreArray(keys));
  EXPECT_THAT(memory->values(3, 2).subspan(47 * 8), ::testing::ElementsAreArray(values));
}

TEST_F(MemoryMakerTest, ACancelledOneLeavesNothing) {
  MemoryMaker maker(engine_, *store_);
  const auto recorder = std::make_shared<Recorder>();
  recorder->on_progress = [r = recorder.get()] { r->cancelled = true; };
  maker.Make(Request("m", 400), recorder);
  recorder->done.WaitForNotification();
  EXPECT_EQ(recorder->memory.status().code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(recorder->progress, ElementsAre(0));
  EXPECT_THAT(store_->List(), IsEmpty());
  EXPECT_EQ(store_->Get("m").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(MemoryMakerTest, ATakenNameIsRefusedAndTheFirstStays) {
  const auto first = Remember("m", 10);
  MemoryMaker maker(engine_, *store_);
  const auto recorder = std::make_shared<Recorder>();
  maker.Make(Request("m", 20), recorder);
  recorder->done.WaitForNotification();
  EXPECT_EQ(recorder->memory.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(store_->Get("m").value()->info().digest, first->info().digest);
}

TEST_F(MemoryMakerTest, ShutdownEndsWhatIsUnderWayAndWhatWaits) {
  const auto under_way = std::make_shared<Recorder>(), waiting = std::make_shared<Recorder>();
  std::optional<MemoryMaker> maker(std::in_place, engine_, *store_);
  under_way->on_progress = [&] { maker->Shutdown(); };
  maker->Make(Request("a", 400), under_way);
  maker->Make(Request("b", 400), waiting);
  under_way->done.WaitForNotification();
  waiting->done.WaitForNotification();
  EXPECT_EQ(under_way->memory.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(waiting->memory.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(store_->List(), IsEmpty());
}

}  // namespace
}  // namespace mtm
