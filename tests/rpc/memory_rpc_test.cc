// SPDX-License-Identifier: Apache-2.0
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

  const std::filesystem::path folder_ = FreshFolder();
  std::unique_ptr<MemoryStore> store_ = OpenStore(folder_);
  TestServer server_{SmallModel(), &Gpt2Tokenizer(), *store_, {.max_text_bytes = 4 << 20}};
};

TEST_F(MemoryRpcTest, IsMadeListedFoundAndDeleted) {
  std::string text;
  for (int i = 0; i < 200; ++i) text += " word";
  auto spec = Spec("team/words");
  spec.mutable_spec()->add_layers(3);
  spec.mutable_spec()->add_layers(2);
  const v1::Memory memory = server_.Create({spec, Text(text)});
  EXPECT_THAT(server_.List().memories(), SizeIs(1));
  EXPECT_EQ(server_.List().memories(0).DebugString(), memory.DebugString());
  v1::Memory found;
  ASSERT_TRUE(Get("team/words", &found).ok());
  EXPECT_THAT(found.versions(), SizeIs(1));
  found.clear_versions();
  EXPECT_EQ(found.DebugString(), memory.DebugString());

  EXPECT_THAT(memory.digest(), SizeIs(64));
  EXPECT_EQ(memory.model_fingerprint(), SmallModel().fingerprint());
  EXPECT_EQ(memory.token_count(), 200);
  EXPECT_THAT(memory.layers(), ElementsAre(2, 3));
  EXPECT_EQ(memory.head_count(), 2);
  EXPECT_EQ(memory.head_dim(), 8);
  EXPECT_THAT(memory.leading_token_ids(), ElementsAre(198));
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

}  // namespace
}  // namespace mtm
