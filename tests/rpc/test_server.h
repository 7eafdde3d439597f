// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_TESTS_RPC_TEST_SERVER_H_
#define MTM_TESTS_RPC_TEST_SERVER_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mtm/v1/inference_service.grpc.pb.h"
#include "mtm/v1/memory_service.grpc.pb.h"
#include "server/rpc/server.h"
#include "tests/rpc/bad_request.h"
#include "tests/rpc/test_models.h"

namespace mtm {

// The rpcs that a server has ended.
class Records {
 public:
  void Add(const RpcRecord& record) {
    const std::lock_guard lock(mutex_);
    records_.push_back(record);
    added_.notify_all();
  }

  // Waits for one and takes it away.
  RpcRecord Take(const std::string& rpc) {
    std::unique_lock lock(mutex_);
    const auto find = [&] { return std::ranges::find(records_, rpc, &RpcRecord::rpc); };
    if (!added_.wait_for(lock, std::chrono::seconds(120), [&] { return find() != records_.end(); })) {
      ADD_FAILURE() << rpc << " has not ended";
      return {};
    }
    RpcRecord record = *find();
    records_.erase(find());
    return record;
  }

 private:
  std::mutex mutex_;  // guards what follows
  std::condition_variable added_;
  std::vector<RpcRecord> records_;
};

// A server of this process on a free port of the loopback interface, and a client's stubs.
class TestServer {
 public:
  TestServer(const Model& model, const Tokenizer* tokenizer, MemoryStore& store, ServerOptions options = {}) {
    options.listen_address = "127.0.0.1:0";
    options.model_name = "test";
    options.observer = [this](const RpcRecord& record) { records_.Add(record); };
    auto server = Server::Start(model, tokenizer, store, std::move(options));
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    channel_ = NewChannel();
    inference_ = v1::InferenceService::NewStub(channel_);
    memories_ = v1::MemoryService::NewStub(channel_);
  }

  // Its windows do not grow, so that a stalled reader stalls its stream soon.
  std::shared_ptr<grpc::Channel> NewChannel() const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetMaxReceiveMessageSize(-1);
    return grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", server_->port()),
                                     grpc::InsecureChannelCredentials(), arguments);
  }

  v1::InferenceService::Stub& inference() { return *inference_; }
  v1::MemoryService::Stub& memories() { return *memories_; }
  Server& server() { return *server_; }
  Records& records() { return records_; }

  // Calls that stand for themselves.
  grpc::Status Generate(const v1::GenerateRequest& request, v1::GenerateResponse& response) {
    grpc::ClientContext context;
    return inference_->Generate(&context, request, &response);
  }
  v1::GenerateResponse Generate(const v1::GenerateRequest& request) {
    v1::GenerateResponse response;
    const grpc::Status status = Generate(request, response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
  v1::GenerateResponse Generate(const std::string& text) {
    return Generate(FromText<v1::GenerateRequest>(text));
  }

  std::vector<v1::StreamGenerateResponse> Stream(const v1::GenerateRequest& request) {
    grpc::ClientContext context;
    const auto reader = inference_->StreamGenerate(&context, request);
    std::vector<v1::StreamGenerateResponse> events;
    for (v1::StreamGenerateResponse event; reader->Read(&event);) events.push_back(event);
    const grpc::Status status = reader->Finish();
    EXPECT_TRUE(status.ok()) << status.error_message();
    return events;
  }

  // All messages, and the events that came back.
  using WriteEvents = std::vector<v1::WriteMemoryResponse>;
  grpc::Status Create(const std::vector<v1::CreateMemoryRequest>& messages, WriteEvents& events) {
    grpc::ClientContext context;
    return Upload(*memories_->CreateMemory(&context), messages, events);
  }
  grpc::Status Replace(const std::vector<v1::CreateMemoryRequest>& messages, WriteEvents& events) {
    grpc::ClientContext context;
    return Upload(*memories_->ReplaceMemory(&context), messages, events);
  }
  grpc::Status Append(const std::vector<v1::AppendToMemoryRequest>& messages, WriteEvents& events) {
    grpc::ClientContext context;
    return Upload(*memories_->AppendToMemory(&context), messages, events);
  }
  grpc::Status Forget(const v1::ForgetFromMemoryRequest& request, WriteEvents& events) {
    grpc::ClientContext context;
    return ReadAll(*memories_->ForgetFromMemory(&context, request), events);
  }
  grpc::Status Watch(const std::string& request_id, WriteEvents& events) {
    grpc::ClientContext context;
    v1::WatchWriteRequest request;
    request.set_request_id(request_id);
    return ReadAll(*memories_->WatchWrite(&context, request), events);
  }
  v1::Memory Create(const std::vector<v1::CreateMemoryRequest>& messages) {
    WriteEvents events;
    const grpc::Status status = Create(messages, events);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return events.empty() ? v1::Memory() : events.back().memory();
  }
  v1::Memory CreateText(const std::string& name, const std::string& text) {
    v1::CreateMemoryRequest spec, part;
    spec.mutable_spec()->set_name(name);
    part.set_text(text);
    return Create({spec, part});
  }

  v1::ListMemoriesResponse List() {
    grpc::ClientContext context;
    v1::ListMemoriesResponse response;
    EXPECT_TRUE(memories_->ListMemories(&context, {}, &response).ok());
    return response;
  }

 private:
  template <typename Stream>
  static grpc::Status ReadAll(Stream& stream, WriteEvents& events) {
    for (v1::WriteMemoryResponse event; stream.Read(&event);) events.push_back(event);
    return stream.Finish();
  }
  template <typename Stream, typename Message>
  static grpc::Status Upload(Stream& stream, const std::vector<Message>& messages, WriteEvents& events) {
    for (const Message& message : messages) {
      if (!stream.Write(message)) break;
    }
    stream.WritesDone();
    return ReadAll(stream, events);
  }

  Records records_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::InferenceService::Stub> inference_;
  std::unique_ptr<v1::MemoryService::Stub> memories_;
};

}  // namespace mtm

#endif  // MTM_TESTS_RPC_TEST_SERVER_H_
