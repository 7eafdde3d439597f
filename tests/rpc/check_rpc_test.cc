// SPDX-License-Identifier: Apache-2.0
// VerifyMemory, RebuildIndex, and memories that are damaged.
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/rpc/memories_fixture.h"

namespace mtm {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

class CheckRpcTest : public MemoriesFixture {
 protected:
  // All events, and how the stream ended.
  template <typename Request>
  grpc::Status Check(std::unique_ptr<grpc::ClientReader<v1::CheckMemoryResponse>> (Stub::*rpc)(
                         grpc::ClientContext*, const Request&),
                     const std::string& request, std::vector<v1::CheckMemoryResponse>* events = nullptr) {
    grpc::ClientContext context;
    const auto reader = (server_->memories().*rpc)(&context, FromText<Request>(request));
    for (v1::CheckMemoryResponse event; reader->Read(&event);) {
      if (events != nullptr) events->push_back(event);
    }
    return reader->Finish();
  }

  void DamageOneByte(const std::filesystem::path& file) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    const auto middle = static_cast<std::streamoff>(std::filesystem::file_size(file) / 2);
    stream.seekg(middle);
    const char byte = static_cast<char>(stream.get());
    stream.seekp(middle);
    stream.put(static_cast<char>(byte ^ 1));
  }
};

TEST_F(CheckRpcTest, AGoodMemoryIsReadToItsEnd) {
  AddMemory(SmallModel(), *store_, "a", {1, 2});
  std::vector<v1::CheckMemoryResponse> events;
  ASSERT_TRUE(Check(&Stub::VerifyMemory, "name: 'a'", &events).ok());
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(events.back().memory().name(), "a");
  int64_t done = 0;
  for (size_t i = 0; i + 1 < events.size(); ++i) {
    EXPECT_GE(events[i].progress().bytes_done(), done);
    done = events[i].progress().bytes_done();
    EXPECT_EQ(events[i].progress().bytes_total(), Get("a").size_bytes());
  }
  EXPECT_EQ(server_->records().Take("VerifyMemory").memory, "a");
}

TEST_F(CheckRpcTest, ADamagedMemoryIsFoundOutAndNotServed) {
  AddMemory(SmallModel(), *store_, "a", {1, 2});
  AddMemory(SmallModel(), *store_, "good", {1, 2}, 300);
  const std::string digest = Get("a").digest();
  DamageOneByte(folder_ / "segments" / (digest + ".mtm"));
  const grpc::Status status = Check(&Stub::VerifyMemory, "name: 'a'");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DATA_LOSS);
  EXPECT_THAT(status.error_message(), HasSubstr(digest));
  const v1::Memory memory = Get("a");
  EXPECT_EQ(memory.state(), v1::Memory::STATE_QUARANTINED);
  EXPECT_THAT(memory.state_reason(), HasSubstr(digest));
  EXPECT_EQ(memory.digest(), digest);
  EXPECT_EQ(memory.token_count(), 30);
  const auto list = Must(&Stub::ListMemories, "filter { states: STATE_QUARANTINED }");
  ASSERT_THAT(list.memories(), SizeIs(1));
  EXPECT_EQ(list.memories(0).state_reason(), memory.state_reason());

  v1::GenerateResponse response;
  const auto request = FromText<v1::GenerateRequest>("prompt: 'Hi' memory_uses { memory: 'a' layers: 1 }");
  EXPECT_EQ(server_->Generate(request, response).error_code(), grpc::StatusCode::DATA_LOSS);
  EXPECT_EQ(Fails(&Stub::LoadMemory, "name: 'a'").error_code(), grpc::StatusCode::DATA_LOSS);
  server_->Generate("prompt: 'Hi' memory_uses { memory: 'good' layers: 1 }");
  EXPECT_TRUE(Check(&Stub::VerifyMemory, "name: 'good'").ok());
  Must(&Stub::DeleteMemory, "name: 'a'");
}

TEST_F(CheckRpcTest, AMemoryWhoseFileWasCutIsListedWithItsReason) {
  AddMemory(SmallModel(), *store_, "a", {1, 2});
  const std::filesystem::path file = SegmentFiles().at(0);
  std::filesystem::resize_file(file, std::filesystem::file_size(file) - 1);
  Restart();
  const v1::Memory memory = Get("a");
  EXPECT_EQ(memory.state(), v1::Memory::STATE_QUARANTINED);
  EXPECT_THAT(memory.state_reason(), HasSubstr(file.filename().string()));
  v1::GenerateResponse response;
  const auto request = FromText<v1::GenerateRequest>("prompt: 'Hi' memory_uses { memory: 'a' layers: 1 }");
  const grpc::Status status = server_->Generate(request, response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DATA_LOSS);
  EXPECT_THAT(status.error_message(), HasSubstr("memory_uses[0].memory: "));
}

TEST_F(CheckRpcTest, ALargeMemoryIsSearchedByAnIndexThatCanBeMadeAnew) {
  StoreOptions options;
  options.index.min_tokens = 500;
  Restart(options);
  AddMemory(SmallModel(), *store_, "large", {1, 2}, 100, 600);
  AddMemory(SmallModel(), *store_, "small", {1, 2}, 100, 400);
  const v1::Memory before = Get("large");
  EXPECT_EQ(before.index().indexed_token_count(), 600);
  EXPECT_THAT(before.index().recall_at_10(), AllOf(testing::Gt(0.5), testing::Le(1)));
  EXPECT_FALSE(Get("small").has_index());
  const auto applied = server_
                           ->Generate(R"(
      prompt: 'Hi' memory_uses { memory: 'small' layers: 1 } memory_uses { memory: 'large' layers: 2 })")
                           .applied();
  EXPECT_THAT(applied.memory_searches(), ElementsAre(v1::MEMORY_SEARCH_EXACT, v1::MEMORY_SEARCH_APPROXIMATE));

  std::vector<v1::CheckMemoryResponse> events;
  ASSERT_TRUE(Check(&Stub::RebuildIndex, "name: 'large'", &events).ok());
  EXPECT_EQ(events.back().memory().index().indexed_token_count(), 600);
  EXPECT_TRUE(Check(&Stub::VerifyMemory, "name: 'large'").ok());
  EXPECT_TRUE(Check(&Stub::RebuildIndex, "name: 'small'").ok());
}

TEST_F(CheckRpcTest, WhatIsNotThereIsNotChecked) {
  EXPECT_EQ(Check(&Stub::VerifyMemory, "name: 'a'").error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Check(&Stub::RebuildIndex, "name: 'a'").error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(Violations(Check(&Stub::VerifyMemory, "name: 'a@1'")), ElementsAre(HasSubstr("name: ")));
  EXPECT_THAT(Violations(Check(&Stub::RebuildIndex, "name: 'a@12345678'")), ElementsAre(HasSubstr("name: ")));
}

}  // namespace
}  // namespace mtm
