// SPDX-License-Identifier: Apache-2.0
// ReplaceMemory, AppendToMemory, ForgetFromMemory, WatchWrite; request ids and detached writes.
#include <optional>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/rpc/test_server.h"

namespace mtm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

using Events = TestServer::WriteEvents;

v1::CreateMemoryRequest CreateText(const std::string& text) {
  v1::CreateMemoryRequest message;
  message.set_text(text);
  return message;
}

v1::AppendToMemoryRequest AppendText(const std::string& text) {
  v1::AppendToMemoryRequest message;
  message.set_text(text);
  return message;
}

class WriteRpcTest : public testing::Test {
 protected:
  // `spec` and the rest in text format.
  grpc::Status Create(const std::string& spec, const std::string& text) {
    events_.clear();
    return server_->Create({FromText<v1::CreateMemoryRequest>("spec { " + spec + " }"), CreateText(text)},
                           events_);
  }
  grpc::Status Replace(const std::string& spec, const std::string& text) {
    events_.clear();
    return server_->Replace({FromText<v1::CreateMemoryRequest>("spec { " + spec + " }"), CreateText(text)},
                            events_);
  }
  grpc::Status Append(const std::string& spec, const std::string& text) {
    events_.clear();
    return server_->Append({FromText<v1::AppendToMemoryRequest>("spec { " + spec + " }"), AppendText(text)},
                           events_);
  }
  grpc::Status Forget(const std::string& request) {
    events_.clear();
    return server_->Forget(FromText<v1::ForgetFromMemoryRequest>(request), events_);
  }
  grpc::Status Watch(const std::string& id) {
    events_.clear();
    return server_->Watch(id, events_);
  }
  // The memory that the last write ended with.
  const v1::Memory& made() const {
    static const v1::Memory none;
    return events_.empty() ? none : events_.back().memory();
  }
  std::string TextOf(const std::string& name) const {
    return Gpt2Tokenizer().Decode(store_->Get(name).value()->tokens());
  }
  void Restart(const Tokenizer* tokenizer = &Gpt2Tokenizer()) {
    server_.reset();
    server_.emplace(SmallModel(), tokenizer, *store_);
  }

  const std::unique_ptr<MemoryStore> store_ = OpenStore(FreshFolder());
  std::optional<TestServer> server_{std::in_place, SmallModel(), &Gpt2Tokenizer(), *store_};
  Events events_;
};

TEST_F(WriteRpcTest, AReplacementTakesThePlaceOfWhatWasThere) {
  const std::string first = server_->CreateText("a", "Hi there").digest();
  ASSERT_TRUE(Replace("name: 'a' layers: 2", "other text").ok());
  EXPECT_NE(made().digest(), first);
  EXPECT_THAT(made().layers(), ElementsAre(2));
  EXPECT_EQ(TextOf("a"), "other text");
  EXPECT_EQ(TextOf("a@" + first), "Hi there");
  EXPECT_EQ(server_->records().Take("ReplaceMemory").memory, "a@" + made().digest());
}

TEST_F(WriteRpcTest, OnlyWhatIsThereIsReplaced) {
  EXPECT_EQ(Replace("name: 'a'", "text").error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(Violations(Replace("name: 'a@12345678'", "text")), ElementsAre(HasSubstr("spec.name: ")));
}

TEST_F(WriteRpcTest, ATextIsAppended) {
  server_->CreateText("a", "Hi there");
  ASSERT_TRUE(Append("name: 'a' source: 'more'", ", and more").ok());
  EXPECT_EQ(TextOf("a"), "Hi there, and more");
  ASSERT_THAT(made().sources(), SizeIs(2));
  EXPECT_EQ(made().sources(1).label(), "more");
  EXPECT_EQ(made().sources(1).first_token(), 2);
  EXPECT_EQ(made().sources(1).token_count(), 3);
}

TEST_F(WriteRpcTest, AppendedTokenIdsAreAllStored) {
  server_->CreateText("a", "Hi there");
  v1::AppendToMemoryRequest spec, ids;
  spec.mutable_spec()->set_name("a");
  ids.mutable_token_ids()->add_ids(7);
  ids.mutable_token_ids()->add_ids(8);
  ASSERT_TRUE(server_->Append({spec, ids}, events_).ok());
  EXPECT_THAT(store_->Get("a").value()->tokens(), ElementsAre(17250, 612, 7, 8));
}

TEST_F(WriteRpcTest, AnAppendToAnotherVersionIsRefused) {
  const std::string first = server_->CreateText("a", "Hi there").digest();
  ASSERT_TRUE(Append("name: 'a@" + first + "'", " more").ok());
  const std::string second = made().digest();
  const grpc::Status status = Append("name: 'a@" + first + "'", " more");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr(second));
  EXPECT_EQ(Append("name: 'b'", "text").error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(Violations(Append("name: 'A'", "text")), ElementsAre(HasSubstr("spec.name: ")));
}

TEST_F(WriteRpcTest, AnotherModelsMemoryIsNotWrittenTo) {
  AddMemory(*MakeSmallModel(2), *store_, "foreign", {1});
  EXPECT_EQ(Append("name: 'foreign'", "text").error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(Forget("name: 'foreign' tokens { count: 1 }").error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_TRUE(Replace("name: 'foreign'", "text").ok());
}

TEST_F(WriteRpcTest, WhatIsForgottenIsGone) {
  ASSERT_TRUE(Create("name: 'a' source: 'x'", "one two three four").ok());
  ASSERT_TRUE(Append("name: 'a' source: 'y'", " five").ok());
  ASSERT_TRUE(Forget("name: 'a' text: ' two'").ok());
  EXPECT_EQ(TextOf("a"), "one three four five");
  EXPECT_EQ(made().token_count(), 4);
  ASSERT_TRUE(Forget("name: 'a' tokens { first: 1 count: 1 }").ok());
  EXPECT_EQ(TextOf("a"), "one four five");
  ASSERT_TRUE(Forget("name: 'a' source: 'x' purge_older_versions: true").ok());
  EXPECT_EQ(TextOf("a"), " five");
  EXPECT_THAT(store_->Find("a").value()->versions, SizeIs(1));
  EXPECT_EQ(server_->records().Take("ForgetFromMemory").memory.substr(0, 2), "a@");
}

TEST_F(WriteRpcTest, BadForgetsAreNamed) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"name: 'a'", "content: is missing; set `tokens`, `text` or `source`"},
      {"name: 'a' text: ''", "text: is empty; must hold at least one character"},
      {"name: 'a' tokens { first: -1 count: 1 }", "tokens.first: is -1; must be at least 0"},
      {"name: 'a' tokens { first: 1 }", "tokens.count: is 0; must be at least 1"},
      {"name: 'a' source: '" + std::string(257, 's') + "'", "source: has 257 bytes; at most 256"},
      {"name: 'a' text: 'x' options { detached: true }",
       "options.request_id: is missing; a detached write is found again by it"},
  };
  for (const auto& [request, violation] : cases) {
    const grpc::Status status = Forget(request);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << request;
    EXPECT_THAT(Violations(status), ElementsAre(violation));
  }
  EXPECT_THAT(Violations(Forget("name: 'A' text: 'x' options { request_id: 'a\\n' }")),
              ElementsAre(HasSubstr("name: "), HasSubstr("options.request_id: ")));
}

TEST_F(WriteRpcTest, WhatCannotBeForgottenIsTold) {
  EXPECT_EQ(Forget("name: 'a' text: 'x'").error_code(), grpc::StatusCode::NOT_FOUND);
  server_->CreateText("a", "Hi there");
  EXPECT_EQ(Forget("name: 'a' text: 'x'").error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Forget("name: 'a' tokens { first: 2 count: 1 }").error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Forget("name: 'a' text: 'Hi there'").error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(Forget("name: 'a@00000000' text: 'Hi'").error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(TextOf("a"), "Hi there");
}

TEST_F(WriteRpcTest, WithoutATokenizerTokensAreForgotten) {
  server_->CreateText("a", "Hi there");
  Restart(nullptr);
  EXPECT_EQ(Forget("name: 'a' text: 'Hi'").error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(Append("name: 'a'", "more").error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_TRUE(Forget("name: 'a' tokens { count: 1 }").ok());
  EXPECT_EQ(TextOf("a"), " there");
}

TEST_F(WriteRpcTest, AnIdIsCarriedOutOnce) {
  const std::string options = " options { request_id: 'id 1' }";
  ASSERT_TRUE(Create("name: 'a'" + options, "Hi there").ok());
  const v1::Memory first = made();
  ASSERT_TRUE(Create("name: 'a'" + options, "Hi there").ok());
  EXPECT_EQ(made().DebugString(), first.DebugString());
  Restart();
  ASSERT_TRUE(Append("name: 'a'" + options, "other").ok());
  EXPECT_EQ(made().digest(), first.digest());
  EXPECT_EQ(TextOf("a"), "Hi there");
}

TEST_F(WriteRpcTest, TheResultOfAnIdOutlivesItsMemory) {
  ASSERT_TRUE(Create("name: 'a' options { request_id: 'id' }", "Hi there").ok());
  const std::string digest = made().digest();
  ASSERT_TRUE(store_->Delete("a").ok());
  ASSERT_TRUE(Create("name: 'a' options { request_id: 'id' }", "Hi there").ok());
  EXPECT_EQ(made().name(), "a");
  EXPECT_EQ(made().digest(), digest);
}

TEST_F(WriteRpcTest, ADetachedWriteIsAcceptedAndWatched) {
  const std::string long_text(20'000, 'a');
  ASSERT_TRUE(Create("name: 'a' options { request_id: 'id' detached: true }", long_text).ok());
  ASSERT_FALSE(events_.empty());
  EXPECT_EQ(events_.back().accepted().request_id(), "id");
  ASSERT_TRUE(Watch("id").ok());
  EXPECT_EQ(made().name(), "a");
  EXPECT_EQ(TextOf("a"), long_text);
  Restart();
  ASSERT_TRUE(Watch("id").ok());
  EXPECT_EQ(made().name(), "a");
  EXPECT_THAT(events_, SizeIs(1));
}

TEST_F(WriteRpcTest, ADetachedAppendAndForgetAreWatched) {
  server_->CreateText("a", "one two");
  ASSERT_TRUE(Append("name: 'a' options { request_id: '1' detached: true }", " three").ok());
  EXPECT_TRUE(events_.back().has_accepted());
  ASSERT_TRUE(Forget("name: 'a' text: ' two' options { request_id: '2' detached: true }").ok());
  EXPECT_TRUE(events_.back().has_accepted());
  ASSERT_TRUE(Watch("2").ok());
  EXPECT_EQ(TextOf("a"), "one three");
}

TEST_F(WriteRpcTest, ADetachedWriteThatCannotWorkIsRefusedAtOnce) {
  server_->CreateText("a", "one two");
  const std::string detached = " options { request_id: 'id' detached: true }";
  EXPECT_EQ(Create("name: 'a'" + detached, "x").error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(Replace("name: 'b'" + detached, "x").error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Append("name: 'b'" + detached, "x").error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Forget("name: 'b' text: 'x'" + detached).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Watch("id").error_code(), grpc::StatusCode::NOT_FOUND);
}

// With an id the client finds what it made; without one, what was there before must not be lost with it.
TEST_F(WriteRpcTest, AClientThatLeavesAfterTheTextWithAnIdMayComeBack) {
  const std::string text(20'000, 'a');
  grpc::ClientContext context;
  const auto stream = server_->memories().CreateMemory(&context);
  ASSERT_TRUE(
      stream->Write(FromText<v1::CreateMemoryRequest>("spec { name: 'a' options { request_id: 'id' } }")));
  ASSERT_TRUE(stream->Write(CreateText(text)));
  stream->WritesDone();
  v1::WriteMemoryResponse event;
  ASSERT_TRUE(stream->Read(&event));
  context.TryCancel();
  stream->Finish();
  ASSERT_TRUE(Create("name: 'a' options { request_id: 'id' }", text).ok());
  EXPECT_EQ(TextOf("a"), text);
}

TEST_F(WriteRpcTest, UnknownIdsAreNotWatched) {
  EXPECT_EQ(Watch("id").error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(Violations(Watch("")), ElementsAre("request_id: is missing; must be that of a write"));
  EXPECT_THAT(Violations(Watch("a\n")), ElementsAre(HasSubstr("request_id: ")));
}

TEST_F(WriteRpcTest, ABrokenUploadChangesNothing) {
  const std::string digest = server_->CreateText("a", "one two").digest();
  {
    grpc::ClientContext context;
    const auto stream = server_->memories().AppendToMemory(&context);
    ASSERT_TRUE(stream->Write(FromText<v1::AppendToMemoryRequest>("spec { name: 'a' }")));
    ASSERT_TRUE(stream->Write(AppendText(" half a te")));
    context.TryCancel();
    EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  EXPECT_EQ(server_->records().Take("AppendToMemory").status.code(), absl::StatusCode::kCancelled);
  server_->CreateText("b", "behind it in the queue");
  EXPECT_EQ(store_->Find("a").value()->info.digest, digest);
}

}  // namespace
}  // namespace mtm
