// SPDX-License-Identifier: Apache-2.0
#include "server/generation/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <map>

#include "server/generation/stop_reasons.h"
#include "tests/generation/fixture.h"
#include "tests/support/notification.h"

namespace mtm {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

// Keeps what it is given; can be full, and can call back on each token.
class Recorder : public GenerationSink {
 public:
  bool HasRoom() override { return has_room; }
  bool IsCancelled() override { return cancelled; }
  void OnToken(GeneratedToken token) override {
    tokens.push_back(std::move(token));
    if (on_token) on_token();
  }
  void OnSampleFinished(int sample, FinishReason reason, std::string, Lookups lookups) override {
    finished[sample] = reason;
    last_lookups[sample] = std::move(lookups);
  }
  void OnDone(const absl::Status& done_status, const RequestStats& done_stats) override {
    status = done_status;
    stats = done_stats;
    done.Notify();
  }

  std::vector<int32_t> Ids(int sample = 0) const {
    std::vector<int32_t> ids;
    for (const GeneratedToken& token : tokens) {
      if (token.sample == sample) ids.push_back(token.id);
    }
    return ids;
  }

  std::atomic<bool> has_room = true, cancelled = false;
  std::function<void()> on_token;
  std::vector<GeneratedToken> tokens;
  std::map<int, FinishReason> finished;
  std::map<int, Lookups> last_lookups;
  absl::Status status;
  RequestStats stats;
  Notification done;
};

class ScoreRecorder : public ScoreSink {
 public:
  bool IsCancelled() override { return false; }
  void OnDone(const absl::Status& done_status, std::vector<TokenDetail> details,
              const RequestStats&) override {
    status = done_status;
    tokens = std::move(details);
    done.Notify();
  }
  absl::Status status;
  std::vector<TokenDetail> tokens;
  Notification done;
};

class EngineTest : public GenerationTest {
 protected:
  std::shared_ptr<Recorder> Start(const GenerationRequest& request) {
    auto recorder = std::make_shared<Recorder>();
    engine_->Generate(request, recorder);
    return recorder;
  }

  std::shared_ptr<Recorder> Finish(const GenerationRequest& request) {
    auto recorder = Start(request);
    recorder->done.WaitForNotification();
    return recorder;
  }

  // Calls `action` on the engine's thread, after the first token of a request, and finishes that request.
  static void InTheMiddleOfAStep(Engine& engine, const std::function<void()>& action) {
    const auto running = std::make_shared<Recorder>();
    running->on_token = [&, r = running.get()] {
      if (r->tokens.size() == 1) action();
    };
    engine.Generate({.context = {.prompt = Tokens(5, 2)}, .max_tokens = 2, .ignore_end_of_text = true},
                    running);
    running->done.WaitForNotification();
    EXPECT_TRUE(running->status.ok()) << running->status;
  }

  std::unique_ptr<Engine> engine_ = std::make_unique<Engine>(*model_, nullptr, Engine::Options{});
};

TEST_F(EngineTest, GeneratesAsManyTokensAsAsked) {
  const auto run = Finish({.context = {.prompt = Tokens(5, 1)}, .max_tokens = 7, .ignore_end_of_text = true});
  EXPECT_TRUE(run->status.ok()) << run->status;
  EXPECT_THAT(run->tokens, SizeIs(7));
  EXPECT_EQ(run->finished.at(0), FinishReason::kMaxTokens);
  EXPECT_EQ(run->stats.usage.prompt_tokens, 5);
  EXPECT_EQ(run->stats.usage.generated_tokens, 7);
}

TEST_F(EngineTest, SamplesDifferAndEachEqualsItselfAgain) {
  const GenerationRequest request{
      .context = {.prompt = Tokens(5, 1)}, .max_tokens = 8, .samples = 3, .ignore_end_of_text = true};
  const auto once = Finish(request), again = Finish(request);
  EXPECT_NE(once->Ids(0), once->Ids(1));
  for (int sample = 0; sample < 3; ++sample) EXPECT_EQ(once->Ids(sample), again->Ids(sample));
  GenerationRequest alone = request;
  alone.samples = 1;
  EXPECT_EQ(Finish(alone)->Ids(0), once->Ids(0));
}

TEST_F(EngineTest, CachedModeEndsWhenTheContextIsFull) {
  const int n_ctx = model_->config().n_ctx;
  const auto run =
      Finish({.context = {.prompt = Tokens(n_ctx - 3, 1)}, .max_tokens = 100, .ignore_end_of_text = true});
  EXPECT_EQ(run->finished.at(0), FinishReason::kContextFull);
  EXPECT_THAT(run->tokens, SizeIs(4));  // n_ctx - p + 1
}

TEST_F(EngineTest, ExactModeGoesOnPastTheContext) {
  const auto memory = Remember("m", 20);
  const auto run = Finish({.context = {.prompt = Tokens(model_->config().n_ctx - 1, 1),
                                       .uses = {{memory, {2, 3}, {}}},
                                       .mode = Mode::kExact},
                           .max_tokens = 5,
                           .ignore_end_of_text = true});
  EXPECT_EQ(run->finished.at(0), FinishReason::kMaxTokens);
  EXPECT_THAT(run->tokens, SizeIs(5));
}

// What a request gets does not depend on who shares its steps.
TEST_F(EngineTest, RequestsTogetherGetWhatEachGetsAlone) {
  Remember("m", 30);
  std::vector<GenerationRequest> requests;
  for (int i = 0; i < 12; ++i) {
    requests.push_back(
        {.context = {.prompt = Tokens(3 + i, i), .mode = i % 2 == 0 ? Mode::kExact : Mode::kCached},
         .max_tokens = 10,
         .sampling = {.seed = uint64_t(i)},
         .ignore_end_of_text = true,
         .top_logprobs = 0});
    if (i % 3 == 0) continue;
    requests.back().context.uses = {{store_->Get("m").value(), {1 + i % 4}, {.method = Method(1 + i % 3)}}};
  }
  for (const DataType cache : {DataType::kF32, DataType::kF16}) {
    engine_ = std::make_unique<Engine>(*model_, nullptr, Engine::Options{.cache = cache});
    std::vector<std::shared_ptr<Recorder>> alone, together;
    for (const auto& request : requests) alone.push_back(Finish(request));
    for (const auto& request : requests) together.push_back(Start(request));
    for (size_t i = 0; i < requests.size(); ++i) {
      together[i]->done.WaitForNotification();
      ASSERT_EQ(together[i]->Ids(), alone[i]->Ids()) << "request " << i << " " << NameOf(cache);
      for (size_t t = 0; t < together[i]->tokens.size(); ++t) {
        EXPECT_EQ(together[i]->tokens[t].detail->chosen.logprob, alone[i]->tokens[t].detail->chosen.logprob);
      }
    }
  }
}

TEST_F(EngineTest, WorkStopsWithinAStepOnceTheClientLeft) {
  const auto recorder = std::make_shared<Recorder>();
  recorder->on_token = [r = recorder.get()] { r->cancelled = r->tokens.size() == 3; };
  engine_->Generate({.context = {.prompt = Tokens(5, 1)}, .max_tokens = 40, .ignore_end_of_text = true},
                    recorder);
  recorder->done.WaitForNotification();
  EXPECT_EQ(recorder->status.code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(recorder->tokens, SizeIs(3));
}

TEST_F(EngineTest, AFullSinkRestsAndHoldsUpNobody) {
  const auto slow = std::make_shared<Recorder>();
  slow->on_token = [r = slow.get()] { r->has_room = r->tokens.size() != 2; };
  engine_->Generate({.context = {.prompt = Tokens(5, 1)}, .max_tokens = 6, .ignore_end_of_text = true}, slow);
  const auto other =
      Finish({.context = {.prompt = Tokens(5, 2)}, .max_tokens = 20, .ignore_end_of_text = true});
  EXPECT_TRUE(other->status.ok());
  EXPECT_FALSE(slow->done.HasBeenNotified());
  slow->has_room = true;
  engine_->Wake();
  slow->done.WaitForNotification();
  EXPECT_THAT(slow->tokens, SizeIs(6));
}

TEST_F(EngineTest, RestingTasksLeaveTheirPlacesToOthers) {
  Engine one_place(*model_, nullptr, {.limits = {.max_sequences = 1}});
  const auto memory = Remember("m", 10);
  std::vector<std::shared_ptr<Recorder>> slow;
  for (int i = 0; i < 3; ++i) {
    slow.push_back(std::make_shared<Recorder>());
    slow.back()->on_token = [r = slow.back().get()] { r->has_room = false; };
    one_place.Generate({.context = {.prompt = Tokens(5, i)}, .max_tokens = 6, .ignore_end_of_text = true},
                       slow[i]);
  }
  const auto other = std::make_shared<Recorder>();
  one_place.Generate({.context = {.prompt = Tokens(5, 9)}, .max_tokens = 6, .ignore_end_of_text = true},
                     other);
  other->done.WaitForNotification();
  EXPECT_TRUE(other->status.ok());
  for (const auto& recorder : slow) EXPECT_FALSE(recorder->done.HasBeenNotified());
  one_place.Shutdown();
  for (const auto& recorder : slow) recorder->done.WaitForNotification();
}

TEST_F(EngineTest, ARequestOfMoreThanAllPlacesIsRunAlone) {
  Engine one_place(*model_, nullptr, {.limits = {.max_sequences = 1}});
  const auto recorder = std::make_shared<Recorder>();
  one_place.Generate(
      {.context = {.prompt = Tokens(5, 1)}, .max_tokens = 2, .samples = 3, .ignore_end_of_text = true},
      recorder);
  recorder->done.WaitForNotification();
  EXPECT_THAT(recorder->tokens, SizeIs(6));
}

TEST_F(EngineTest, AWaitingRequestEndsWhenItsClientLeaves) {
  Engine one_place(*model_, nullptr, {.limits = {.max_sequences = 1}});
  const auto first = std::make_shared<Recorder>(), waiting = std::make_shared<Recorder>();
  // While the first is within its first token's callback the other is known to wait.
  first->on_token = [&] {
    if (first->tokens.size() > 1) return;
    one_place.Generate({.context = {.prompt = Tokens(5, 2)}}, waiting);
    waiting->cancelled = true;
  };
  one_place.Generate({.context = {.prompt = Tokens(5, 1)}, .max_tokens = 30, .ignore_end_of_text = true},
                     first);
  waiting->done.WaitForNotification();
  EXPECT_EQ(waiting->status.code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(waiting->tokens, IsEmpty());
  first->done.WaitForNotification();
}

TEST_F(EngineTest, AReaderThatTakesNothingIsEndedAndItsCacheGoesToOthers) {
  const GenerationRequest request{
      .context = {.prompt = Tokens(5, 1)}, .max_tokens = 6, .ignore_end_of_text = true};
  const int64_t bytes = CacheBytes(model_->config(), {.capacity = 10});
  Engine engine(*model_, nullptr,
                {.limits = {.max_cache_bytes = bytes}, .stall_timeout = absl::Milliseconds(20)});
  const auto stalled = std::make_shared<Recorder>(), other = std::make_shared<Recorder>();
  stalled->on_token = [r = stalled.get()] { r->has_room = false; };
  engine.Generate(request, stalled);
  engine.Generate(request, other);
  stalled->done.WaitForNotification();
  EXPECT_EQ(stalled->status.code(), absl::StatusCode::kDeadlineExceeded);
  other->done.WaitForNotification();
  EXPECT_TRUE(other->status.ok()) << other->status;
  EXPECT_EQ(engine.stats().stalled, 1);
}

TEST_F(EngineTest, WhoWaitsTooLongIsRefusedAlsoWhileNothingRuns) {
  const GenerationRequest request{
      .context = {.prompt = Tokens(5, 1)}, .max_tokens = 6, .ignore_end_of_text = true};
  const int64_t bytes = CacheBytes(model_->config(), {.capacity = 10});
  const auto resting = std::make_shared<Recorder>(), waiting = std::make_shared<Recorder>();
  Engine engine(*model_, nullptr,
                {.limits = {.max_cache_bytes = bytes, .max_wait = absl::Milliseconds(200)}});
  resting->on_token = [r = resting.get()] { r->has_room = false; };
  engine.Generate(request, resting);
  engine.Generate(request, waiting);
  waiting->done.WaitForNotification();
  EXPECT_EQ(waiting->status.code(), absl::StatusCode::kResourceExhausted) << waiting->status;
  EXPECT_TRUE(RetryDelay(waiting->status).has_value());
  EXPECT_EQ(engine.stats().refused.max_wait, 1);
}

TEST_F(EngineTest, WhoWaitsTooLongIsRefusedInTheMiddleOfAStep) {
  const auto waiting = std::make_shared<Recorder>();
  Engine engine(*model_, nullptr, {.limits = {.max_sequences = 1, .max_wait = absl::Milliseconds(200)}});
  InTheMiddleOfAStep(engine, [&] {  // which goes no further until the other is refused
    engine.Generate({.context = {.prompt = Tokens(5, 1)}, .max_tokens = 2}, waiting);
    waiting->done.WaitForNotification();
  });
  EXPECT_EQ(waiting->status.code(), absl::StatusCode::kResourceExhausted) << waiting->status;
}

TEST_F(EngineTest, WhoLeavesWhileWaitingIsForgottenInTheMiddleOfAStep) {
  const auto waiting = std::make_shared<Recorder>();
  Engine engine(*model_, nullptr, {.limits = {.max_sequences = 1}});
  InTheMiddleOfAStep(engine, [&] {
    engine.Generate({.context = {.prompt = Tokens(5, 1)}, .max_tokens = 2}, waiting);
    waiting->cancelled = true;
    engine.Wake();
    waiting->done.WaitForNotification();
  });
  EXPECT_EQ(waiting->status.code(), absl::StatusCode::kCancelled) << waiting->status;
}

TEST_F(EngineTest, WhoStoodBehindOneThatIsRefusedIsTaken) {
  const auto bytes = [this](int capacity) { return CacheBytes(model_->config(), {.capacity = capacity}); };
  Engine engine(*model_, nullptr,
                {.limits = {.max_cache_bytes = bytes(20)}, .stall_timeout = absl::InfiniteDuration()});
  const auto of_tokens = [](int n) {
    return GenerationRequest{
        .context = {.prompt = Tokens(5, n)}, .max_tokens = n, .ignore_end_of_text = true};
  };
  const auto resting = std::make_shared<Recorder>(), large = std::make_shared<Recorder>(),
             small = std::make_shared<Recorder>();
  Notification rests;
  resting->on_token = [&] {
    resting->has_room = false;
    rests.Notify();
  };
  engine.Generate(of_tokens(6), resting);
  rests.WaitForNotification();
  engine.Generate(of_tokens(10), large, {.deadline = absl::Now() + absl::Milliseconds(100)});
  engine.Generate(of_tokens(2), small);
  small->done.WaitForNotification();
  EXPECT_TRUE(small->status.ok()) << small->status;
  large->done.WaitForNotification();
  EXPECT_EQ(large->status.code(), absl::StatusCode::kDeadlineExceeded) << large->status;
}

TEST_F(EngineTest, AScoreAndATraceOfAPromptThatWasRunBeforeAreTheSame) {
  const auto memory = Remember("m", 30);
  const Context context{.prompt = Tokens(30, 1), .uses = {{memory, {3, 4}, {}}}};
  const auto score = [&] {
    const auto recorder = std::make_shared<ScoreRecorder>();
    engine_->Score({.context = context, .continuation = Tokens(4, 2)}, recorder);
    recorder->done.WaitForNotification();
    std::vector<double> logprobs;
    for (const TokenDetail& token : recorder->tokens) logprobs.push_back(token.chosen.logprob);
    return logprobs;
  };
  EXPECT_EQ(score(), score());

  GenerationRequest request{
      .context = context, .max_tokens = 3, .samples = 2, .ignore_end_of_text = true, .trace = true};
  request.context.prompt = Tokens(31, 4);
  const auto first = Finish(request), again = Finish(request);
  EXPECT_EQ(again->stats.usage.reused_prompt_tokens, 30);
  ASSERT_EQ(first->tokens.size(), again->tokens.size());
  for (size_t i = 0; i < first->tokens.size(); ++i) {
    EXPECT_EQ(first->tokens[i].id, again->tokens[i].id);
    const std::vector<TraceEntry>&a = first->tokens[i].lookups.entries, &b = again->tokens[i].lookups.entries;
    ASSERT_EQ(a.size(), b.size());
    EXPECT_FALSE(a.empty());
    for (size_t j = 0; j < a.size(); ++j) {
      EXPECT_EQ(a[j].position, b[j].position);
      EXPECT_EQ(a[j].attention, b[j].attention);
      EXPECT_EQ(a[j].weights, b[j].weights);
    }
  }
}

TEST_F(EngineTest, PromptsThatBeginInTheSameWayAreRunOnce) {
  const auto memory = Remember("m", 30);
  for (const bool with_memory : {false, true}) {
    GenerationRequest request{
        .context = {.prompt = Tokens(30, 1)}, .max_tokens = 5, .ignore_end_of_text = true};
    if (with_memory) request.context.uses = {{memory, {3, 4}, {}}};
    const auto first = Finish(request), again = Finish(request);
    EXPECT_EQ(first->stats.usage.reused_prompt_tokens, 0);
    EXPECT_EQ(again->stats.usage.reused_prompt_tokens, 29);
    EXPECT_EQ(first->Ids(), again->Ids());
    EXPECT_EQ(first->stats.usage.tokens_heads_changed, again->stats.usage.tokens_heads_changed);
  }
}

TEST_F(EngineTest, PromptsThatComeTogetherAreRunOnceToo) {
  GenerationRequest request{
      .context = {.prompt = Tokens(30, 1)}, .max_tokens = 5, .ignore_end_of_text = true};
  std::vector<std::shared_ptr<Recorder>> together(4);
  for (auto& recorder : together) recorder = std::make_shared<Recorder>();
  InTheMiddleOfAStep(*engine_, [&] {  // all have come before its next round
    for (const auto& recorder : together) engine_->Generate(request, recorder);
  });
  int64_t reused = 0;
  for (const auto& recorder : together) {
    recorder->done.WaitForNotification();
    EXPECT_EQ(recorder->Ids(), together[0]->Ids());
    reused += recorder->stats.usage.reused_prompt_tokens;
  }
  EXPECT_EQ(reused, 3 * 29);
}

TEST_F(EngineTest, PromptsAreSharedWithinAnIdentityAlone) {
  const GenerationRequest request{
      .context = {.prompt = Tokens(30, 1)}, .max_tokens = 2, .ignore_end_of_text = true};
  for (const auto& [identity, reused] :
       std::vector<std::pair<std::string, int>>{{"a", 0}, {"b", 0}, {"a", 29}}) {
    const auto recorder = std::make_shared<Recorder>();
    engine_->Generate(request, recorder, {.client = identity, .identity = identity});
    recorder->done.WaitForNotification();
    EXPECT_EQ(recorder->stats.usage.reused_prompt_tokens, reused) << identity;
  }
}

TEST_F(EngineTest, WhatNeverFitsTheCachesIsRefusedAtOnce) {
  const int64_t bytes = CacheBytes(model_->config(), {.capacity = 10});
  Engine engine(*model_, nullptr, {.limits = {.max_cache_bytes = bytes}});
  GenerationRequest request{.context = {.prompt = Tokens(5, 1)}, .max_tokens = 6, .ignore_end_of_text = true};
  for (const bool fits : {true, false}) {
    const auto recorder = std::make_shared<Recorder>();
    engine.Generate(request, recorder);
    recorder->done.WaitForNotification();
    EXPECT_EQ(recorder->status.code(), fits ? absl::StatusCode::kOk : absl::StatusCode::kResourceExhausted);
    request.max_tokens = 7;
  }
  EXPECT_EQ(engine.stats().refused.too_large, 1);
}

TEST_F(EngineTest, BeyondTheLineRequestsAreRefusedAndToldWhenToTryAgain) {
  Engine engine(*model_, nullptr, {.limits = {.max_sequences = 1, .max_waiting = 1}});
  const auto first = std::make_shared<Recorder>(), waiting = std::make_shared<Recorder>(),
             refused = std::make_shared<Recorder>();
  const GenerationRequest request{
      .context = {.prompt = Tokens(5, 1)}, .max_tokens = 3, .ignore_end_of_text = true};
  first->on_token = [&] {
    if (first->tokens.size() > 1) return;
    engine.Generate(request, waiting);
    engine.Generate(request, refused);
  };
  engine.Generate(request, first);
  refused->done.WaitForNotification();
  EXPECT_EQ(refused->status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_GT(RetryDelay(refused->status).value(), absl::ZeroDuration());
  for (const auto& recorder : {first, waiting}) {
    recorder->done.WaitForNotification();
    EXPECT_TRUE(recorder->status.ok());
  }
}

TEST_F(EngineTest, ATimeLimitEndsWithWhatThereIs) {
  GenerationRequest request{.context = {.prompt = Tokens(5, 1), .mode = Mode::kExact},
                            .max_tokens = 100'000,
                            .ignore_end_of_text = true};
  request.time_limit = absl::Milliseconds(30);
  const auto run = Finish(request);
  EXPECT_TRUE(run->status.ok()) << run->status;
  EXPECT_EQ(run->finished.at(0), FinishReason::kTimeLimit);
  EXPECT_THAT(run->tokens, ::testing::Not(IsEmpty()));
}

TEST_F(EngineTest, ALongPromptDoesNotHoldUpTheOthers) {
  // While another's prompt goes through the model a few layers a round, tokens go on coming.
  const int n_ctx = model_->config().n_ctx;
  const auto decoding = std::make_shared<Recorder>(), prompt = std::make_shared<Recorder>();
  size_t tokens_at_start = 0, tokens_at_end = 0;
  decoding->on_token = [&] {
    if (decoding->tokens.size() != 2) return;
    tokens_at_start = decoding->tokens.size();
    engine_->Generate({.context = {.prompt = Tokens(n_ctx, 2)}, .max_tokens = 1, .ignore_end_of_text = true},
                      prompt);
  };
  prompt->on_token = [&] { tokens_at_end = decoding->tokens.size(); };
  engine_->Generate(
      {.context = {.prompt = Tokens(5, 1)}, .max_tokens = n_ctx - 5, .ignore_end_of_text = true}, decoding);
  prompt->done.WaitForNotification();
  decoding->done.WaitForNotification();
  EXPECT_GT(tokens_at_end, tokens_at_start);
}

TEST_F(EngineTest, CountsWhatItDoes) {
  const auto run = Finish(
      {.context = {.prompt = Tokens(5, 1)}, .max_tokens = 7, .samples = 3, .ignore_end_of_text = true});
  engine_->Shutdown();
  const EngineStats stats = engine_->stats();
  EXPECT_EQ(stats.steps, 7);
  EXPECT_EQ(stats.sequences, 1 + 6 * 3);
  EXPECT_EQ(stats.rows, 5 + 6 * 3);
  EXPECT_EQ(stats.batches[0], 1);  // the prompt
  EXPECT_EQ(stats.batches[2], 6);  // three samples
  EXPECT_GT(stats.step_time, absl::ZeroDuration());
}

TEST_F(EngineTest, SettingsBeyondWhatFloatsHoldStillGiveNumbers) {
  const auto memory = Remember("m", 20);
  for (Method method : {Method::kType1, Method::kType2, Method::kType3}) {
    const auto run = Finish(
        {.context =
             {.prompt = Tokens(5, 1),
              .uses = {{memory,
                        {1, 2, 3, 4},
                        {.method = method, .k = 20, .memory_fraction = 1e308, .score_scale = 1.7e308}}}},
         .max_tokens = 5,
         .ignore_end_of_text = true,
         .top_logprobs = 0});
    ASSERT_TRUE(run->status.ok()) << run->status;
    for (const GeneratedToken& token : run->tokens) EXPECT_TRUE(std::isfinite(token.detail->chosen.logprob));
  }
}

TEST_F(EngineTest, ThePromptCountsOnceHoweverManySamples) {
  const auto memory = Remember("m", 20);
  GenerationRequest request{.context = {.prompt = Tokens(5, 1), .uses = {{memory, {2}, {}}}},
                            .max_tokens = 1};
  const auto one = Finish(request);
  request.samples = 4;
  EXPECT_EQ(Finish(request)->stats.usage.tokens_heads_total, one->stats.usage.tokens_heads_total);
}

TEST_F(EngineTest, ShutdownEndsWhatIsUnderWay) {
  const auto resting = std::make_shared<Recorder>();
  resting->on_token = [r = resting.get()] { r->has_room = false; };
  engine_->Generate({.context = {.prompt = Tokens(5, 1)}, .max_tokens = 6}, resting);
  engine_->Shutdown();
  resting->done.WaitForNotification();
  EXPECT_EQ(resting->status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Finish({.context = {.prompt = Tokens(5, 1)}})->status.code(), absl::StatusCode::kUnavailable);
}

TEST_F(EngineTest, ScoreEqualsTheLogprobsOfWhatWasGenerated) {
  const auto memory = Remember("m", 30);
  for (Mode mode : {Mode::kExact, Mode::kCached}) {
    const Context context{.prompt = Tokens(6, 3), .uses = {{memory, {2, 3}, {}}}, .mode = mode};
    const auto run =
        Finish({.context = context, .max_tokens = 9, .ignore_end_of_text = true, .top_logprobs = 2});
    const auto score = std::make_shared<ScoreRecorder>();
    engine_->Score({.context = context, .continuation = run->Ids(), .top_logprobs = 2}, score);
    score->done.WaitForNotification();
    ASSERT_THAT(score->tokens, SizeIs(9));
    for (size_t i = 0; i < 9; ++i) {
      EXPECT_EQ(score->tokens[i].chosen.id, run->tokens[i].id);
      EXPECT_EQ(score->tokens[i].chosen.logprob, run->tokens[i].detail->chosen.logprob);
    }
  }
}

TEST_F(EngineTest, EndOfTextEndsUnlessIgnored) {
  // A seed whose sample contains the end-of-text token: the tiny model draws it about once in 500.
  const auto memory = Remember("m", 20);
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    GenerationRequest request{.context = {.prompt = Tokens(3, 1), .uses = {{memory, {2}, {}}}},
                              .max_tokens = 8,
                              .samples = 8,
                              .sampling = {.temperature = 2, .top_k = 0, .seed = seed},
                              .trace = true};
    const auto run = Finish(request);
    const auto ended = std::find_if(run->finished.begin(), run->finished.end(),
                                    [](const auto& f) { return f.second == FinishReason::kEndOfText; });
    if (ended == run->finished.end()) continue;
    const auto ids = run->Ids(ended->first);
    EXPECT_THAT(ids, ::testing::Not(::testing::Contains(*model_->config().end_of_text)));
    // The step that drew it looked things up as well.
    EXPECT_EQ(run->last_lookups.at(ended->first).step, static_cast<int>(ids.size()));
    EXPECT_THAT(run->last_lookups.at(ended->first).entries, ::testing::Not(IsEmpty()));
    request.ignore_end_of_text = true;
    const auto ignoring = Finish(request)->Ids(ended->first);
    EXPECT_THAT(ignoring, SizeIs(8));
    EXPECT_EQ(ignoring[ids.size()], *model_->config().end_of_text);
    return;
  }
  FAIL() << "no seed drew the end-of-text token";
}

}  // namespace
}  // namespace mtm
