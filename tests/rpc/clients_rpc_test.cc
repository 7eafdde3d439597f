// SPDX-License-Identifier: Apache-2.0
// Clients that share a server: whose turn it is, and who is refused.
#include <fstream>
#include <functional>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/rpc/access_file.h"
#include "tests/rpc/test_server.h"

namespace mtm {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

// A server with one place, and clients whose tokens are their names.
class ClientsRpcTest : public testing::Test {
 protected:
  ClientsRpcTest() { Restart({.max_sequences = 1}); }
  ~ClientsRpcTest() override {
    for (std::thread& thread : threads_) thread.join();
  }

  void Restart(const WaitingLine::Limits& limits) {
    server_.reset();
    ServerOptions options;
    options.access_file = folder_ / "access.json";
    std::ofstream(options.access_file)
        << absl::StrCat(R"({"tokens":[)", AccessFileLine("a", "a"), ",", AccessFileLine("b", "b"), ",",
                        AccessFileLine("holder", "holder"), "]}");
    options.engine.limits = limits;
    server_ = std::make_unique<TestServer>(TinyModel(), nullptr, *store_, options);
  }

  static void SetToken(grpc::ClientContext& context, const std::string& client) {
    context.AddMetadata("authorization", "Bearer " + client);
  }

  static v1::GenerateRequest Request(int max_tokens = 1) {
    v1::GenerateRequest request = FromText<v1::GenerateRequest>(R"(
        prompt_tokens { ids: [1, 2, 3] } parameters { mode: MODE_EXACT ignore_end_of_text: true })");
    request.mutable_parameters()->set_max_tokens(max_tokens);
    return request;
  }

  grpc::Status Generate(const std::string& client, const v1::GenerateRequest& request,
                        std::chrono::milliseconds timeout = std::chrono::minutes(5)) {
    grpc::ClientContext context;
    SetToken(context, client);
    context.set_deadline(std::chrono::system_clock::now() + timeout);
    v1::GenerateResponse response;
    return server_->inference().Generate(&context, request, &response);
  }

  // On a thread of its own.
  void Start(const std::string& client, const v1::GenerateRequest& request) {
    threads_.emplace_back([=, this] { EXPECT_TRUE(Generate(client, request).ok()); });
  }

  void WaitUntil(const std::function<bool(const EngineStats&)>& condition) {
    while (!condition(server_->server().backend().engine.stats())) std::this_thread::yield();
  }
  void WaitForLine(size_t n) {
    WaitUntil([n](const EngineStats& stats) { return stats.waiting == n; });
  }

  const std::filesystem::path folder_ = FreshFolder();
  const std::unique_ptr<MemoryStore> store_ = OpenStore(folder_);
  std::unique_ptr<TestServer> server_;
  std::vector<std::thread> threads_;
};

// Takes the only place until it goes: by a call without a stream, which has no reader to rest for.
class Holder {
 public:
  Holder(TestServer& server, const v1::GenerateRequest& request, const std::string& token) {
    context_.AddMetadata("authorization", "Bearer " + token);
    calling_ = std::thread([this, &server, request] {
      v1::GenerateResponse response;
      EXPECT_EQ(server.inference().Generate(&context_, request, &response).error_code(),
                grpc::StatusCode::CANCELLED);
    });
    while (server.server().backend().engine.stats().running_sequences == 0) std::this_thread::yield();
  }
  ~Holder() {
    context_.TryCancel();
    calling_.join();
  }

 private:
  grpc::ClientContext context_;
  std::thread calling_;
};

TEST_F(ClientsRpcTest, ALaterClientDoesNotStandBehindAllOfAnothersRequests) {
  auto holder = std::make_unique<Holder>(*server_, Request(100'000), "holder");
  for (int i = 0; i < 6; ++i) Start("a", Request());
  WaitForLine(6);
  Holder later(*server_, Request(100'000), "b");
  WaitForLine(7);
  holder.reset();
  WaitUntil([](const EngineStats& stats) { return stats.waiting <= 5; });
  const int64_t steps = server_->server().backend().engine.stats().steps;
  // All that a asks for takes far fewer.
  WaitUntil([steps](const EngineStats& stats) { return stats.steps > steps + 200; });
  EXPECT_EQ(server_->server().backend().engine.stats().waiting, 5u) << "b runs behind one of a's";
}

TEST_F(ClientsRpcTest, OneClientsFloodRefusesNobodyElse) {
  Restart({.max_sequences = 1, .max_client_requests = 3});
  Holder holder(*server_, Request(100'000), "holder");
  for (int i = 0; i < 3; ++i) Start("a", Request());
  WaitForLine(3);
  const grpc::Status refused = Generate("a", Request());
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(refused.error_message(), HasSubstr("this client has 3 requests under way"));
  Start("b", Request());
  WaitForLine(4);
  EXPECT_EQ(server_->server().backend().engine.stats().refused.client_limit, 1);
}

TEST_F(ClientsRpcTest, WhatCannotBeServedInTimeIsRefusedAtOnce) {
  constexpr int kTokens = 200;
  auto one = std::chrono::milliseconds::max();  // the least, since a busy machine may hold up some
  for (int i = 0; i < 3; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_TRUE(Generate("b", Request(kTokens)).ok());
    one =
        std::min(one, std::chrono::ceil<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin));
  }
  {
    Holder holder(*server_, Request(100'000), "holder");
    for (int i = 0; i < 12; ++i) Start("a", Request(kTokens));
    WaitForLine(12);
  }
  WaitForLine(6);  // the server has seen five end, one after the other
  EXPECT_EQ(Generate("b", Request(), one).error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(server_->server().backend().engine.stats().refused.deadline, 1);
  EXPECT_TRUE(Generate("b", Request()).ok()) << "who has time waits";
}

TEST_F(ClientsRpcTest, WithoutTokensConnectionsOfThisHostAreClients) {
  ServerOptions options;
  options.engine.limits = {.max_sequences = 1, .max_client_requests = 1};
  TestServer server(TinyModel(), nullptr, *store_, options);
  const auto other = v1::InferenceService::NewStub(server.NewChannel());
  Holder holder(server, Request(100'000), "");
  v1::GenerateResponse response;
  EXPECT_EQ(server.Generate(Request(), response).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(200));
  EXPECT_EQ(other->Generate(&context, Request(), &response).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(server.server().backend().engine.stats().refused.client_limit, 1);
}

}  // namespace
}  // namespace mtm
