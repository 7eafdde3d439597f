// SPDX-License-Identifier: Apache-2.0
#include <fstream>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/rpc/test_server.h"

namespace mtm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

v1::CreateMemoryRequest Spec(const std::string& name) {
  v1::CreateMemoryRequest message;
  message.mutable_spec()->set_name(name);
  return message;
}

v1::CreateMemoryRequest Text(const std::string& text) {
  v1::CreateMemoryRequest message;
  message.set_text(text);
  return message;
}

std::vector<std::string> FilesBelow(const std::filesystem::path& folder) {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) files.push_back(entry.path().string());
  }
  std::ranges::sort(files);
  return files;
}

class MemoryRpcTest : public testing::Test {
 protected:
  grpc::Status Get(const std::string& name, v1::Memory* memory) {
    grpc::ClientContext context;
    v1::GetMemoryRequest request;
    request.set_name(name);
    return server_.memories().GetMemory(&context, request, memory);
  }
  grpc::Status Delete(const std::string& name) {
    grpc::ClientContext context;
    v1::DeleteMemoryRequest request;
    request.set_name(name);
    v1::DeleteMemoryResponse response;
    return server_.memories().DeleteMemory(&context, request, &response);
  }
  grpc::Status Create(const std::vector<v1::CreateMemoryRequest>& messages) {
    std::vector<v1::CreateMemoryResponse> events;
    return server_.Create(messages, events);
  }

  const std::filesystem::path folder_ = FreshFolder();
  std::unique_ptr<MemoryStore> store_ = OpenStore(folder_);
  TestServer server_{SmallModel(), &Gpt2Tokenizer(), *store_, {.max_text_bytes = 4 << 20}};
};

TEST_F(MemoryRpcTest, IsMadeListedFoundAndDeleted) {
  std::vector<v1::CreateMemoryResponse> events;
  std::string text;
  for (int i = 0; i < 200; ++i) text += " word";
  auto spec = Spec("team/words");
  spec.mutable_spec()->add_layers(3);
  spec.mutable_spec()->add_layers(2);
  ASSERT_TRUE(server_.Create({spec, Text(text.substr(0, 333)), Text(text.substr(333))}, events).ok());
  ASSERT_FALSE(events.empty());
  int64_t done = 0;
  for (size_t i = 0; i + 1 < events.size(); ++i) {
    ASSERT_TRUE(events[i].has_progress());
    EXPECT_GE(events[i].progress().tokens_done(), done);
    EXPECT_EQ(events[i].progress().tokens_total(), 200);
    done = events[i].progress().tokens_done();
  }
  v1::Memory memory = events.back().memory();
  EXPECT_THAT(server_.List().memories(), SizeIs(1));
  EXPECT_EQ(server_.List().memories(0).DebugString(), memory.DebugString());
  v1::Memory found;
  ASSERT_TRUE(Get("team/words", &found).ok());
  EXPECT_EQ(found.DebugString(), memory.DebugString());

  EXPECT_THAT(memory.digest(), SizeIs(64));
  EXPECT_EQ(memory.model_fingerprint(), SmallModel().fingerprint());
  EXPECT_EQ(memory.token_count(), 200);
  EXPECT_THAT(memory.layers(), ElementsAre(2, 3));
  EXPECT_EQ(memory.head_count(), 2);
  EXPECT_EQ(memory.head_dim(), 8);
  EXPECT_EQ(memory.dropped_token_count(), 1);
  EXPECT_GT(memory.size_bytes(), 200 * 2 * 2 * 8 * 2 * 4);
  EXPECT_GT(memory.create_time().seconds(), 1'600'000'000);

  EXPECT_TRUE(Delete("team/words").ok());
  EXPECT_THAT(server_.List().memories(), IsEmpty());
  EXPECT_EQ(Get("team/words", &found).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Delete("team/words").error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(MemoryRpcTest, HoldsTheTokensOfTheTextWithoutTheNewline) {
  server_.CreateText("a", "Hi there");
  const auto tokens = (*store_->Get("a"))->tokens();
  EXPECT_THAT(tokens, ElementsAre(17250, 612));
}

TEST_F(MemoryRpcTest, ANameIsGivenOnce) {
  const std::string digest = server_.CreateText("a", "Hi there").digest();
  EXPECT_EQ(Create({Spec("a"), Text("other")}).error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(server_.List().memories(0).digest(), digest);
}

TEST_F(MemoryRpcTest, ANameInUseIsRefusedBeforeTheTextIsSent) {
  server_.CreateText("a", "Hi there");
  grpc::ClientContext context;
  const auto stream = server_.memories().CreateMemory(&context);
  ASSERT_TRUE(stream->Write(Spec("a")));
  v1::CreateMemoryResponse event;
  EXPECT_FALSE(stream->Read(&event));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::ALREADY_EXISTS);
}

TEST_F(MemoryRpcTest, OfTwoAtOnceOneGetsTheName) {
  std::vector<grpc::Status> statuses(4);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < statuses.size(); ++i) {
    threads.emplace_back([&, i] { statuses[i] = Create({Spec("a"), Text("Hi there")}); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(std::ranges::count_if(statuses, &grpc::Status::ok), 1);
  for (const grpc::Status& status : statuses) {
    EXPECT_TRUE(status.ok() || status.error_code() == grpc::StatusCode::ALREADY_EXISTS)
        << status.error_message();
  }
}

TEST_F(MemoryRpcTest, SeveralAreMadeOneAfterTheOther) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&, i] { server_.CreateText(absl::StrCat("m", i), std::string(2000, 'a')); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(server_.List().memories(), SizeIs(6));
}

TEST_F(MemoryRpcTest, AStreamThatEndsWithinTheTextLeavesNothing) {
  const auto files = FilesBelow(folder_);
  grpc::ClientContext context;
  const auto stream = server_.memories().CreateMemory(&context);
  ASSERT_TRUE(stream->Write(Spec("a")));
  ASSERT_TRUE(stream->Write(Text("Hi there")));
  context.TryCancel();
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(server_.records().Take("CreateMemory").status.code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(server_.List().memories(), IsEmpty());
  EXPECT_EQ(FilesBelow(folder_), files);
  server_.CreateText("a", "Hi there");
}

TEST_F(MemoryRpcTest, AStreamThatEndsWithinTheMakingLeavesNothing) {
  const auto files = FilesBelow(folder_);
  std::string text;
  while (text.size() < 4'000'000) text += " word";
  grpc::ClientContext context;
  const auto stream = server_.memories().CreateMemory(&context);
  ASSERT_TRUE(stream->Write(Spec("a")));
  ASSERT_TRUE(stream->Write(Text(text)));
  stream->WritesDone();
  v1::CreateMemoryResponse event;
  do {
    ASSERT_TRUE(stream->Read(&event));
  } while (event.progress().tokens_done() == 0);
  context.TryCancel();
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(server_.records().Take("CreateMemory").status.code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(server_.List().memories(), IsEmpty());
  EXPECT_EQ(FilesBelow(folder_), files);
}

TEST_F(MemoryRpcTest, GenerationGoesOnWhileAMemoryIsMade) {
  std::string text;
  while (text.size() < 4'000'000) text += " word";
  grpc::ClientContext context;
  const auto stream = server_.memories().CreateMemory(&context);
  ASSERT_TRUE(stream->Write(Spec("a")));
  ASSERT_TRUE(stream->Write(Text(text)));
  stream->WritesDone();
  v1::CreateMemoryResponse event;
  ASSERT_TRUE(stream->Read(&event));
  for (int i = 0; i < 5; ++i) server_.Generate("prompt: 'Hi'");
  context.TryCancel();
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(MemoryRpcTest, BadUploadsAreRefused) {
  EXPECT_THAT(Violations(Create({})), ElementsAre("spec: is missing; the first message must be `spec`"));
  EXPECT_THAT(Violations(Create({Spec("A")})), ElementsAre(HasSubstr("spec.name: ")));
  EXPECT_THAT(Violations(Create({Spec("a"), Text("")})),
              ElementsAre("text: is empty; a memory holds at least one token"));
  EXPECT_THAT(Violations(Create({Spec("a"), Text("a\xff")})), ElementsAre(HasSubstr("text: ")));
  EXPECT_THAT(Violations(Create({Spec("\xff")})), ElementsAre("spec.name: is no UTF-8 at byte 0"));
  const grpc::Status large =
      Create({Spec("a"), Text(std::string(3 << 20, 'a')), Text(std::string(3 << 20, 'a'))});
  EXPECT_EQ(large.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(server_.List().memories(), IsEmpty());
}

TEST_F(MemoryRpcTest, AMemoryIsFoundByItsDigest) {
  const v1::Memory made = server_.CreateText("a", "Hi there");
  v1::Memory found;
  for (const size_t digits : {8, 20, 64}) {
    EXPECT_TRUE(Get("a@" + made.digest().substr(0, digits), &found).ok());
    EXPECT_EQ(found.digest(), made.digest());
  }
  const std::string other = made.digest()[0] == '0' ? "11111111" : "00000000";
  const grpc::Status status = Get("a@" + other, &found);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(status.error_message(), HasSubstr(made.digest().substr(0, 8)));
  EXPECT_EQ(Delete("a@" + other).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Get("a@123", &found).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Delete("").error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(MemoryRpcTest, AMissingNameGetsTheNamesThatComeClose) {
  server_.CreateText("team/cats", "Hi there");
  v1::Memory found;
  const grpc::Status status = Get("team/cat", &found);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(status.error_message(), HasSubstr("team/cats"));
}

TEST_F(MemoryRpcTest, AnotherModelsMemoryIsListedAndNotUsed) {
  const auto other_model = MakeSmallModel(2);
  AddMemory(*other_model, *store_, "foreign", {1, 2, 3, 4});
  EXPECT_THAT(server_.List().memories(), SizeIs(1));
  v1::GenerateResponse response;
  const grpc::Status status = server_.Generate(
      FromText<v1::GenerateRequest>("prompt: 'Hi' memory_uses { memory: 'foreign' }"), response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("foreign was made by another model"));
}

TEST_F(MemoryRpcTest, ARequestUnderWayKeepsADeletedMemory) {
  server_.CreateText("a", "Hi there");
  grpc::ClientContext context;
  const auto request = FromText<v1::GenerateRequest>(
      "prompt: 'Hi' memory_uses { memory: 'a' } parameters { max_tokens: 40 top_logprobs: 100 }");
  const auto reader = server_.inference().StreamGenerate(&context, request);
  v1::StreamGenerateResponse event;
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_TRUE(Delete("a").ok());
  int tokens = 0;
  while (reader->Read(&event)) tokens += event.has_token();
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(tokens, 40);
}

TEST(DamagedMemoryRpcTest, IsListedWithItsReasonAndNotServed) {
  const std::filesystem::path folder = FreshFolder();
  AddMemory(SmallModel(), *OpenStore(folder), "a", {1});
  std::string largest;
  for (const std::string& file : FilesBelow(folder)) {
    if (largest.empty() || std::filesystem::file_size(file) > std::filesystem::file_size(largest))
      largest = file;
  }
  std::filesystem::resize_file(largest, std::filesystem::file_size(largest) - 1);
  const auto store = OpenStore(folder);
  TestServer server(SmallModel(), &Gpt2Tokenizer(), *store);
  const v1::ListMemoriesResponse list = server.List();
  EXPECT_THAT(list.memories(), IsEmpty());
  ASSERT_THAT(list.damaged(), SizeIs(1));
  EXPECT_EQ(list.damaged(0).name(), "a");
  EXPECT_NE(list.damaged(0).reason(), "");
  v1::GenerateResponse response;
  const auto request = FromText<v1::GenerateRequest>("prompt: 'Hi' memory_uses { memory: 'a' }");
  EXPECT_EQ(server.Generate(request, response).error_code(), grpc::StatusCode::DATA_LOSS);
  std::vector<v1::CreateMemoryResponse> events;
  EXPECT_EQ(server.Create({Spec("a"), Text("Hi")}, events).error_code(), grpc::StatusCode::ALREADY_EXISTS);
}

}  // namespace
}  // namespace mtm
