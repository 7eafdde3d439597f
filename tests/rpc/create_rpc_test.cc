// SPDX-License-Identifier: Apache-2.0
// CreateMemory: names, streams that end early, bad uploads.
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

// Its making takes many seconds.
const std::string& LongText() {
  static const std::string text = [] {
    std::string words;
    while (words.size() < 4'000'000) words += " word";
    return words;
  }();
  return text;
}

std::vector<std::string> FilesBelow(const std::filesystem::path& folder) {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) files.push_back(entry.path().string());
  }
  std::ranges::sort(files);
  return files;
}

class CreateRpcTest : public testing::Test {
 protected:
  grpc::Status Create(const std::vector<v1::CreateMemoryRequest>& messages) {
    TestServer::WriteEvents events;
    return server_.Create(messages, events);
  }

  // A stream whose text has been sent and whose making has begun.
  auto StartLong(grpc::ClientContext& context) {
    auto stream = server_.memories().CreateMemory(&context);
    EXPECT_TRUE(stream->Write(Spec("a")));
    EXPECT_TRUE(stream->Write(Text(LongText())));
    stream->WritesDone();
    v1::WriteMemoryResponse event;
    do {
      EXPECT_TRUE(stream->Read(&event));
    } while (event.progress().tokens_done() == 0 && !HasFailure());
    return stream;
  }

  // Writes end in the order they were asked for: when this one has, those before have too.
  void Drain() {
    server_.CreateText("barrier", "Hi");
    EXPECT_TRUE(store_->Delete("barrier").ok());
  }

  const std::filesystem::path folder_ = FreshFolder();
  std::unique_ptr<MemoryStore> store_ = OpenStore(folder_);
  TestServer server_{SmallModel(), &Gpt2Tokenizer(), *store_, {.max_text_bytes = 4 << 20}};
};

TEST_F(CreateRpcTest, ProgressComesBeforeTheMemory) {
  TestServer::WriteEvents events;
  std::string text;
  for (int i = 0; i < 200; ++i) text += " word";
  ASSERT_TRUE(server_.Create({Spec("a"), Text(text.substr(0, 333)), Text(text.substr(333))}, events).ok());
  ASSERT_FALSE(events.empty());
  int64_t done = 0;
  for (size_t i = 0; i + 1 < events.size(); ++i) {
    ASSERT_TRUE(events[i].has_progress());
    EXPECT_GE(events[i].progress().tokens_done(), done);
    EXPECT_EQ(events[i].progress().tokens_total(), 200);
    done = events[i].progress().tokens_done();
  }
  EXPECT_EQ(events.back().memory().name(), "a");
  EXPECT_EQ(events.back().memory().token_count(), 200);
}

TEST_F(CreateRpcTest, AMemoryCarriesWhatItsSpecSays) {
  const auto spec = FromText<v1::CreateMemoryRequest>(R"(spec {
      name: 'a' layers: [3, 2] data_type: DATA_TYPE_F16 source: 'letter' labels { key: 'team' value: 'x' }
      metadata { fields { key: 'n' value { number_value: 1 } } } })");
  const v1::Memory memory = server_.Create({spec, Text("Hi there")});
  EXPECT_THAT(memory.layers(), ElementsAre(2, 3));
  EXPECT_THAT(memory.leading_token_ids(), ElementsAre(198));
  EXPECT_EQ(memory.data_type(), v1::DATA_TYPE_F16);
  ASSERT_THAT(memory.sources(), SizeIs(1));
  EXPECT_EQ(memory.sources(0).label(), "letter");
  EXPECT_EQ(memory.labels().at("team"), "x");
  EXPECT_EQ(memory.metadata().fields().at("n").number_value(), 1);
}

TEST_F(CreateRpcTest, ANameIsGivenOnce) {
  const std::string digest = server_.CreateText("a", "Hi there").digest();
  EXPECT_EQ(Create({Spec("a"), Text("other")}).error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(store_->Find("a").value()->info.digest, digest);
}

TEST_F(CreateRpcTest, ANameInUseIsRefusedBeforeTheTextIsSent) {
  server_.CreateText("a", "Hi there");
  grpc::ClientContext context;
  const auto stream = server_.memories().CreateMemory(&context);
  ASSERT_TRUE(stream->Write(Spec("a")));
  v1::WriteMemoryResponse event;
  EXPECT_FALSE(stream->Read(&event));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::ALREADY_EXISTS);
}

TEST(DamagedMemoryRpcTest, ANameOfADamagedMemoryIsInUse) {
  const std::filesystem::path folder = FreshFolder();
  AddMemory(SmallModel(), *OpenStore(folder), "a", {1});
  for (const std::string& file : FilesBelow(folder / "segments")) {
    std::filesystem::resize_file(file, std::filesystem::file_size(file) - 1);
  }
  const auto store = OpenStore(folder);
  TestServer server(SmallModel(), &Gpt2Tokenizer(), *store);
  TestServer::WriteEvents events;
  const grpc::Status status = server.Create({Spec("a"), Text("Hi")}, events);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_THAT(status.error_message(), HasSubstr("damaged"));
  ASSERT_TRUE(server.Replace({Spec("a"), Text("Hi")}, events).ok());
  EXPECT_EQ(events.back().memory().state(), v1::Memory::STATE_RESIDENT);
}

TEST_F(CreateRpcTest, OfSeveralAtOnceOneGetsTheName) {
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

TEST_F(CreateRpcTest, SeveralAreMadeOneAfterTheOther) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&, i] { server_.CreateText(absl::StrCat("m", i), std::string(2000, 'a')); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(*store_->catalog(), SizeIs(6));
}

TEST_F(CreateRpcTest, AStreamThatEndsWithinTheTextLeavesNothing) {
  Drain();
  const auto files = FilesBelow(folder_);
  grpc::ClientContext context;
  const auto stream = server_.memories().CreateMemory(&context);
  ASSERT_TRUE(stream->Write(Spec("a")));
  ASSERT_TRUE(stream->Write(Text("Hi there")));
  context.TryCancel();
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  server_.records().Take("CreateMemory");  // the barrier's
  const RpcRecord record = server_.records().Take("CreateMemory");
  EXPECT_EQ(record.status.code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(record.memory, testing::AnyOf("a", ""));  // the cancellation may overtake the upload
  Drain();
  EXPECT_THAT(*store_->catalog(), IsEmpty());
  EXPECT_EQ(FilesBelow(folder_), files);
}

TEST_F(CreateRpcTest, AStreamThatEndsWithinTheMakingLeavesNothing) {
  Drain();
  const auto files = FilesBelow(folder_);
  grpc::ClientContext context;
  const auto stream = StartLong(context);
  context.TryCancel();
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  server_.records().Take("CreateMemory");  // the barrier's
  EXPECT_EQ(server_.records().Take("CreateMemory").status.code(), absl::StatusCode::kCancelled);
  Drain();
  EXPECT_THAT(*store_->catalog(), IsEmpty());
  EXPECT_EQ(FilesBelow(folder_), files);
}

TEST_F(CreateRpcTest, GenerationGoesOnWhileAMemoryIsMade) {
  grpc::ClientContext context;
  const auto stream = StartLong(context);
  for (int i = 0; i < 5; ++i) server_.Generate("prompt: 'Hi'");
  context.TryCancel();
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(CreateRpcTest, BadUploadsAreRefused) {
  EXPECT_THAT(Violations(Create({})), ElementsAre("spec: is missing; the first message must be `spec`"));
  EXPECT_THAT(Violations(Create({Spec("A")})), ElementsAre(HasSubstr("spec.name: ")));
  EXPECT_THAT(Violations(Create({Spec("a"), Text("")})),
              ElementsAre("text: is empty; a memory holds at least one token"));
  EXPECT_THAT(Violations(Create({Spec("a"), Text("a\xff")})), ElementsAre(HasSubstr("text: ")));
  EXPECT_THAT(Violations(Create({Spec("\xff")})), ElementsAre("spec.name: is no UTF-8 at byte 0"));
  const grpc::Status large =
      Create({Spec("a"), Text(std::string(3 << 20, 'a')), Text(std::string(3 << 20, 'a'))});
  EXPECT_EQ(large.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(*store_->catalog(), IsEmpty());
}

}  // namespace
}  // namespace mtm
