// SPDX-License-Identifier: Apache-2.0
#include "client/client.h"

#include <future>
#include <sstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "client/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_service.h"

namespace mtm::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ClientTest : public testing::Test {
 protected:
  FakeState& state() { return server_.state(); }

  absl::StatusOr<v1::Memory> Make(const std::string& name, const std::string& text, CallOptions call = {}) {
    std::istringstream stream(text);
    v1::CreateMemoryRequest::Spec spec;
    spec.set_name(name);
    return client_.Remember(spec, TextReader(stream), nullptr, call);
  }

  FakeServer server_;
  Client client_{ClientOptions{.address = server_.address()}};
};

v1::GenerateRequest Prompt(const std::string& text) {
  v1::GenerateRequest request;
  request.set_prompt(text);
  return request;
}

TEST_F(ClientTest, RemembersATextOfManyChunks) {
  std::string text;
  for (int i = 0; text.size() < 300'000; ++i) text += absl::StrCat("line ", i, "\n");
  std::istringstream stream(text);
  v1::CreateMemoryRequest::Spec spec;
  spec.set_name("cats");
  spec.set_dropped_token_count(0);
  int64_t last_done = 0;
  int calls = 0;
  const auto memory = client_.Remember(spec, TextReader(stream), [&](const auto& progress) {
    ++calls;
    EXPECT_GE(progress.tokens_done(), last_done);
    last_done = progress.tokens_done();
  });
  ASSERT_TRUE(memory.ok()) << memory.status();
  EXPECT_EQ(memory->name(), "cats");
  EXPECT_EQ(state().TextOf("cats"), text);
  EXPECT_TRUE(state().last_spec().has_dropped_token_count());
  EXPECT_GT(calls, 1);
  EXPECT_EQ(last_done, static_cast<int64_t>(text.size()));
}

TEST_F(ClientTest, RemembersTokenIds) {
  bool given = false;
  const auto memory =
      client_.Remember(v1::CreateMemoryRequest::Spec(),
                       [&given](std::stop_token) -> absl::StatusOr<std::optional<MemoryPart>> {
                         if (std::exchange(given, true)) return std::nullopt;
                         return MemoryPart(std::vector<int32_t>{1, 2, 3});
                       });
  ASSERT_TRUE(memory.ok()) << memory.status();
  EXPECT_EQ(state().TextOf(""), "1 2 3");
}

TEST_F(ClientTest, ReaderThatFailsLeavesNoMemory) {
  int calls = 0;
  v1::CreateMemoryRequest::Spec spec;
  spec.set_name("half");
  const auto memory =
      client_.Remember(spec, [&calls](std::stop_token) -> absl::StatusOr<std::optional<MemoryPart>> {
        if (calls++ == 0) return MemoryPart(std::string("half of it"));
        return absl::UnknownError("disk on fire");
      });
  EXPECT_EQ(memory.status().code(), absl::StatusCode::kUnknown);
  EXPECT_EQ(memory.status().message(), "disk on fire");
  EXPECT_EQ(client_.GetMemory("half").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ClientTest, RefusalStopsAReaderThatWaits) {
  ASSERT_TRUE(Make("cats", "purr").ok());
  v1::CreateMemoryRequest::Spec spec;
  spec.set_name("cats");
  const auto again =
      client_.Remember(spec, [](std::stop_token stop) -> absl::StatusOr<std::optional<MemoryPart>> {
        std::promise<void> stopped;
        const std::stop_callback callback(stop, [&stopped] { stopped.set_value(); });
        stopped.get_future().wait();
        return absl::CancelledError("stopped");
      });
  EXPECT_EQ(again.status().code(), absl::StatusCode::kAlreadyExists) << again.status();
}

TEST_F(ClientTest, StopCancelsTheMakingOfAMemory) {
  state().HangAfterFirstProgress();
  std::stop_source source;
  std::istringstream stream("purr");
  v1::CreateMemoryRequest::Spec spec;
  spec.set_name("cats");
  const auto memory =
      client_.Remember(spec, TextReader(stream), [&source](const auto&) { source.request_stop(); },
                       {.stop = source.get_token()});
  EXPECT_EQ(memory.status().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(state().WaitUntilClientLeft());
}

TEST_F(ClientTest, ListsShowsAndDeletes) {
  ASSERT_TRUE(Make("b", "2").ok());
  ASSERT_TRUE(Make("a", "1").ok());
  const auto list = client_.ListMemories();
  ASSERT_TRUE(list.ok());
  ASSERT_EQ(list->memories_size(), 2);
  EXPECT_EQ(list->memories(0).name(), "a");
  EXPECT_EQ(client_.GetMemory("b")->token_count(), 1);
  EXPECT_TRUE(client_.DeleteMemory("b").ok());
  EXPECT_EQ(client_.DeleteMemory("b").code(), absl::StatusCode::kNotFound);
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

TEST_F(ClientTest, ReadsAreTriedAgainWhileUnavailable) {
  state().FailNext({grpc::StatusCode::UNAVAILABLE, "starting"}, 2);
  const auto model = client_.GetModel();
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(state().call_count(), 3);
}

TEST_F(ClientTest, WritesAndGenerationAreNot) {
  state().FailNext({grpc::StatusCode::UNAVAILABLE, "starting"});
  const auto response = client_.Generate(Prompt("Cats"));
  EXPECT_EQ(response.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(response.status().message()), HasSubstr(server_.address()));
  state().FailNext({grpc::StatusCode::UNAVAILABLE, "starting"});
  EXPECT_EQ(client_.DeleteMemory("cats").code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(state().call_count(), 2);
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
  EXPECT_EQ(client_.ListMemories()->memories_size(), 8);
}

}  // namespace
}  // namespace mtm::client
