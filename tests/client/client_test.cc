// SPDX-License-Identifier: Apache-2.0
#include "client/client.h"

#include <future>
#include <thread>

#include "absl/strings/str_cat.h"
#include "client/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/client_fixture.h"

namespace mtm::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const grpc::Status kStarting(grpc::StatusCode::UNAVAILABLE, "starting");

v1::GenerateRequest Prompt(const std::string& text) {
  v1::GenerateRequest request;
  request.set_prompt(text);
  return request;
}

TEST_F(ClientTest, GeneratesWhole) {
  const auto response = client_.Generate(Prompt("Cats"));
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->samples(0).text(), " bark bark bark");
}

TEST_F(ClientTest, StreamsEventsInOrder) {
  std::string text;
  std::vector<int> kinds;
  const absl::Status status =
      client_.StreamGenerate(Prompt("Cats"), [&](const v1::StreamGenerateResponse& event) {
        kinds.push_back(event.event_case());
        text += event.token().text();
        return true;
      });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(text, " bark bark bark");
  EXPECT_THAT(kinds, ElementsAre(1, 2, 2, 2, 3, 4));
}

TEST_F(ClientTest, CallbackEndsTheStream) {
  state().HangAfterFirstToken();
  const absl::Status status = client_.StreamGenerate(
      Prompt("Cats"), [](const v1::StreamGenerateResponse& event) { return !event.has_token(); });
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(state().WaitUntilClientLeft());
}

TEST_F(ClientTest, StopFromAnotherThreadEndsTheStream) {
  state().HangAfterFirstToken();
  std::stop_source source;
  std::promise<void> first_token;
  std::jthread stopper([&] {
    first_token.get_future().wait();
    source.request_stop();
  });
  const absl::Status status = client_.StreamGenerate(Prompt("Cats"),
                                                     [&](const v1::StreamGenerateResponse& event) {
                                                       if (event.has_token()) first_token.set_value();
                                                       return true;
                                                     },
                                                     {.stop = source.get_token()});
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
}

TEST_F(ClientTest, StopBeforehandSendsNothing) {
  std::stop_source source;
  source.request_stop();
  EXPECT_EQ(client_.GetModel({.stop = source.get_token()}).status().code(), absl::StatusCode::kCancelled);
}

TEST_F(ClientTest, DeadlineCoversTheWholeStream) {
  state().HangAfterFirstToken();
  const absl::Status status = client_.StreamGenerate(Prompt("Cats"), [](const auto&) { return true; },
                                                     {.timeout = absl::Milliseconds(200)});
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(ClientTest, FieldViolationsComeThrough) {
  const auto response = client_.Generate(Prompt(""));
  EXPECT_THAT(FieldViolations(response.status()), ElementsAre(FieldViolation{"prompt", "must not be empty"}));
}

TEST_F(ClientTest, TriesAgainWhileUnavailable) {
  state().FailNext(kStarting, 3);
  const auto model = client_.GetModel();
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(state().call_count(), 4);
}

TEST_F(ClientTest, TriesAgainABoundedNumberOfTimes) {
  state().FailNext(kStarting, 100);
  const absl::Status status = client_.GetModel().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr(server_.address()));
  EXPECT_EQ(state().call_count(), 4);
}

TEST_F(ClientTest, OneAttemptIsOne) {
  state().FailNext(kStarting, 100);
  Client impatient({.address = server_.address(), .max_attempts = 1});
  EXPECT_EQ(impatient.GetModel().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(state().call_count(), 1);
}

TEST_F(ClientTest, OtherErrorsAreFinal) {
  state().FailNext({grpc::StatusCode::RESOURCE_EXHAUSTED, "full"});
  EXPECT_EQ(client_.GetModel().status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(state().call_count(), 1);
}

TEST_F(ClientTest, GenerationIsTriedAgain) {
  state().FailNext(kStarting);
  EXPECT_TRUE(client_.Generate(Prompt("Cats")).ok());
  EXPECT_EQ(state().call_count(), 2);
}

TEST_F(ClientTest, ALongPromptIsTriedAgainToo) {
  state().FailNext(kStarting);
  EXPECT_TRUE(client_.Generate(Prompt(std::string(3 << 20, 'x'))).ok());  // above gRPC's own buffer
  EXPECT_EQ(state().call_count(), 2);
}

TEST_F(ClientTest, AStreamIsTriedAgainUntilSomethingCame) {
  state().FailNext(kStarting, 2);
  int n_tokens = 0;
  const auto count = [&](const v1::StreamGenerateResponse& event) {
    n_tokens += event.has_token();
    return true;
  };
  EXPECT_TRUE(client_.StreamGenerate(Prompt("Cats"), count).ok());
  EXPECT_EQ(n_tokens, 3);
  EXPECT_EQ(state().call_count(), 3);
  state().BreakAfterFirstToken();
  EXPECT_EQ(client_.StreamGenerate(Prompt("Cats"), count).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(n_tokens, 4);
  EXPECT_EQ(state().call_count(), 4);
}

TEST_F(ClientTest, StopEndsTheWaitForTheNextAttempt) {
  state().FailNext(kStarting);
  std::stop_source source;
  Client patient({.address = server_.address(),
                  .first_retry_delay = absl::Hours(1),
                  .on_retry = [&source](const absl::Status&, absl::Duration) { source.request_stop(); }});
  EXPECT_EQ(patient.VerifyMemory("cats", nullptr, {.stop = source.get_token()}).status().code(),
            absl::StatusCode::kCancelled);
  EXPECT_EQ(state().call_count(), 1);
}

TEST_F(ClientTest, DoesNotWaitPastTheDeadline) {
  state().FailNext(kStarting);
  Client patient({.address = server_.address(), .first_retry_delay = absl::Hours(1)});
  EXPECT_EQ(patient.VerifyMemory("cats", nullptr, {.timeout = absl::Minutes(1)}).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST_F(ClientTest, TokenizesScoresAndBack) {
  EXPECT_THAT(*client_.Tokenize("hi"), ElementsAre(104, 105));
  EXPECT_EQ(*client_.Detokenize(std::vector<int32_t>{104, 105}), "hi");
  v1::ScoreRequest request;
  request.set_prompt("a");
  request.set_continuation("bcd");
  EXPECT_EQ(client_.Score(request)->total_logprob(), -1.5);
}

TEST_F(ClientTest, CallsFromManyThreadsShareOneClient) {
  std::vector<std::jthread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([this, i] {
      const std::string name = absl::StrCat("m", i);
      EXPECT_TRUE(Make(name, name).ok());
      EXPECT_EQ(client_.GetMemory(name)->name(), name);
      EXPECT_TRUE(client_.StreamGenerate(Prompt("Cats"), [](const auto&) { return true; }).ok());
    });
  }
  threads.clear();
  EXPECT_EQ(client_.ListMemories()->size(), 8u);
}

}  // namespace
}  // namespace mtm::client
