// SPDX-License-Identifier: Apache-2.0
// Clients that leave, stall or time out, and servers that stop.
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/rpc/test_server.h"

namespace mtm {
namespace {

using testing::HasSubstr;
using testing::Lt;

// Goes on until somebody ends it; each message is some kilobytes.
v1::GenerateRequest Endless() {
  return FromText<v1::GenerateRequest>(R"(
      prompt_tokens { ids: [1, 2, 3] }
      parameters { mode: MODE_EXACT max_tokens: 39000 ignore_end_of_text: true top_logprobs: 100 })");
}

class LifeRpcTest : public testing::Test {
 protected:
  static ServerOptions Options(int grace_ms = 60'000) {
    ServerOptions options;
    options.shutdown_grace_ms = grace_ms;
    return options;
  }

  // A stream of which `n_read` tokens are read.
  std::unique_ptr<grpc::ClientReader<v1::StreamGenerateResponse>> StartEndless(grpc::ClientContext& context,
                                                                               int n_read) {
    auto reader = server_->inference().StreamGenerate(&context, Endless());
    v1::StreamGenerateResponse event;
    EXPECT_TRUE(reader->Read(&event));
    for (int i = 0; i < n_read; ++i) EXPECT_TRUE(reader->Read(&event));
    return reader;
  }

  void Restart(const ServerOptions& options) {
    server_.reset();
    server_ = std::make_unique<TestServer>(TinyModel(), nullptr, *store_, options);
  }

  const std::unique_ptr<MemoryStore> store_ = OpenStore(FreshFolder());
  std::unique_ptr<TestServer> server_ =
      std::make_unique<TestServer>(TinyModel(), nullptr, *store_, Options());
};

TEST_F(LifeRpcTest, ACancelledStreamStopsTheWork) {
  grpc::ClientContext context;
  const auto reader = StartEndless(context, 3);
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  const RpcRecord record = server_->records().Take("StreamGenerate");
  EXPECT_EQ(record.status.code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(record.stats.usage.generated_tokens, testing::AllOf(testing::Ge(3), Lt(39'000)));
}

TEST_F(LifeRpcTest, AClientThatDisappearsStopsTheWork) {
  {
    const auto stub = v1::InferenceService::NewStub(server_->NewChannel());
    grpc::ClientContext context;
    const auto reader = stub->StreamGenerate(&context, Endless());
    v1::StreamGenerateResponse event;
    ASSERT_TRUE(reader->Read(&event));
    context.TryCancel();
  }
  EXPECT_EQ(server_->records().Take("StreamGenerate").status.code(), absl::StatusCode::kCancelled);
}

TEST_F(LifeRpcTest, ADeadlineStopsTheWorkOfAUnaryCall) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(300));
  v1::GenerateResponse response;
  EXPECT_EQ(server_->inference().Generate(&context, Endless(), &response).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  const RpcRecord record = server_->records().Take("Generate");
  EXPECT_EQ(record.status.code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(record.stats.usage.generated_tokens, Lt(39'000));
}

TEST_F(LifeRpcTest, ADeadlineStopsTheWorkOfAScore) {
  v1::ScoreRequest request = FromText<v1::ScoreRequest>("prompt_tokens { ids: 1 } mode: MODE_EXACT");
  for (int i = 0; i < 100'000; ++i) request.mutable_continuation_tokens()->add_ids(i % 500);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(300));
  v1::ScoreResponse response;
  EXPECT_EQ(server_->inference().Score(&context, request, &response).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(server_->records().Take("Score").status.code(), absl::StatusCode::kCancelled);
}

TEST_F(LifeRpcTest, ASlowReaderStallsOnlyItself) {
  grpc::ClientContext context;
  const auto reader = StartEndless(context, 1);
  // Every step of these could be one of the stream too, were it not resting.
  const auto request = FromText<v1::GenerateRequest>(R"(
      prompt_tokens { ids: [1, 2, 3] } parameters { mode: MODE_EXACT max_tokens: 1000 ignore_end_of_text: true })");
  for (int i = 0; i < 2; ++i) EXPECT_EQ(server_->Generate(request).usage().generated_tokens(), 1000);
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  // What 16 queued messages, HTTP/2's window of 64 KiB and the sockets' buffers hold.
  EXPECT_THAT(server_->records().Take("StreamGenerate").stats.usage.generated_tokens, Lt(1000));
}

TEST_F(LifeRpcTest, AReaderThatComesBackGetsEverything) {
  v1::GenerateRequest request = Endless();
  request.mutable_parameters()->set_max_tokens(600);
  request.mutable_parameters()->mutable_sampling()->set_seed(7);
  const v1::GenerateResponse unary = server_->Generate(request);
  grpc::ClientContext context;
  const auto reader = server_->inference().StreamGenerate(&context, request);
  for (int i = 0; i < 3; ++i) server_->Generate(request);  // while the stream fills up
  std::vector<int32_t> ids;
  for (v1::StreamGenerateResponse event; reader->Read(&event);) {
    if (event.has_token()) ids.push_back(event.token().token_id());
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_THAT(unary.samples(0).token_ids(), testing::ElementsAreArray(ids));
}

TEST_F(LifeRpcTest, AtTheEndOfItsGraceAServerEndsWhatIsUnderWay) {
  Restart(Options(0));
  grpc::ClientContext context;
  const auto reader = StartEndless(context, 1);
  std::thread shutdown([&] { server_->server().Shutdown(); });
  v1::StreamGenerateResponse event;
  while (reader->Read(&event)) {
  }
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("shutting down"));
  shutdown.join();
}

TEST_F(LifeRpcTest, AStalledReaderDoesNotKeepAServerUp) {
  Restart(Options(0));
  grpc::ClientContext context;
  const auto reader = StartEndless(context, 1);
  server_->server().Shutdown();
  v1::StreamGenerateResponse event;
  while (reader->Read(&event)) {
  }
  EXPECT_FALSE(reader->Finish().ok());
}

TEST_F(LifeRpcTest, ADrainingServerFinishesAndRefuses) {
  v1::GenerateRequest request = Endless();
  request.mutable_parameters()->set_max_tokens(3000);
  grpc::ClientContext context;
  const auto reader = server_->inference().StreamGenerate(&context, request);
  v1::StreamGenerateResponse event;
  ASSERT_TRUE(reader->Read(&event));
  std::thread shutdown([&] { server_->server().Shutdown(); });
  grpc::Status status;
  do {
    grpc::ClientContext model_context;
    v1::Model model;
    status = server_->inference().GetModel(&model_context, {}, &model);
  } while (status.ok());
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  int tokens = 0;
  while (reader->Read(&event)) tokens += event.has_token();
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(tokens, 3000);
  shutdown.join();
  server_->server().Wait();
}

TEST_F(LifeRpcTest, AnAddressIsCheckedAndTakenOnce) {
  ServerOptions options;
  for (const std::string& address :
       {std::string("127.0.0.1:99999"), std::string("127.0.0.1"), std::string("nowhere.invalid:0"),
        absl::StrCat("127.0.0.1:", server_->server().port())}) {
    options.listen_address = address;
    const auto server = Server::Start(TinyModel(), nullptr, *store_, options);
    EXPECT_EQ(server.status().code(), absl::StatusCode::kInvalidArgument) << address;
    EXPECT_THAT(std::string(server.status().message()), HasSubstr(address));
  }
}

}  // namespace
}  // namespace mtm
