// SPDX-License-Identifier: Apache-2.0
// The client's calls of MemoryService.
#include <future>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/request_id.h"
#include "gmock/gmock.h"
#include "tests/client/client_fixture.h"

namespace mtm::client {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;

using ClientMemoriesTest = ClientTest;

constexpr grpc::StatusCode kUnavailable = grpc::StatusCode::UNAVAILABLE;

TEST(NewRequestIdTest, IsARandomUuid) {
  std::set<std::string> ids;
  for (int i = 0; i < 1000; ++i) ids.insert(NewRequestId());
  EXPECT_EQ(ids.size(), 1000u);
  EXPECT_THAT(*ids.begin(),
              MatchesRegex("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"));
}

TEST_F(ClientMemoriesTest, CreatesFromATextOfManyChunks) {
  std::string text;
  for (int i = 0; text.size() < 300'000; ++i) text += absl::StrCat("line ", i, "\n");
  std::istringstream stream(text);
  int64_t last_done = 0;
  int calls = 0;
  const auto made = client_.CreateMemory(Named("cats"), TextReader(stream), [&](int64_t done, int64_t) {
    ++calls;
    EXPECT_GE(done, last_done);
    last_done = done;
  });
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(made->memory().name(), "cats");
  EXPECT_EQ(state().TextOf("cats"), text);
  EXPECT_GT(calls, 1);
  EXPECT_EQ(last_done, static_cast<int64_t>(text.size()));
}

TEST_F(ClientMemoriesTest, CreatesFromTokenIds) {
  bool given = false;
  const auto made = client_.CreateMemory(
      Named("ids"), [&given](std::stop_token) -> absl::StatusOr<std::optional<MemoryPart>> {
        if (std::exchange(given, true)) return std::nullopt;
        return MemoryPart(std::vector<int32_t>{1, 2, 3});
      });
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(state().TextOf("ids"), "1 2 3");
}

TEST_F(ClientMemoriesTest, ReaderThatFailsLeavesNoMemory) {
  int calls = 0;
  const auto made = client_.CreateMemory(
      Named("half"), [&calls](std::stop_token) -> absl::StatusOr<std::optional<MemoryPart>> {
        if (calls++ == 0) return MemoryPart(std::string("half of it"));
        return absl::UnknownError("disk on fire");
      });
  EXPECT_EQ(made.status().code(), absl::StatusCode::kUnknown);
  EXPECT_EQ(made.status().message(), "disk on fire");
  EXPECT_EQ(client_.GetMemory("half").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ClientMemoriesTest, RefusalStopsAReaderThatWaits) {
  ASSERT_TRUE(Make("cats", "purr").ok());
  const auto again = client_.CreateMemory(
      Named("cats"), [](std::stop_token stop) -> absl::StatusOr<std::optional<MemoryPart>> {
        std::promise<void> stopped;
        const std::stop_callback callback(stop, [&stopped] { stopped.set_value(); });
        stopped.get_future().wait();
        return absl::CancelledError("stopped");
      });
  EXPECT_EQ(again.status().code(), absl::StatusCode::kAlreadyExists) << again.status();
}

TEST_F(ClientMemoriesTest, StopCancelsAWrite) {
  state().HangAfterFirstProgress();
  std::stop_source source;
  std::istringstream stream("purr");
  const auto made = client_.CreateMemory(Named("cats"), TextReader(stream),
                                         [&source](int64_t, int64_t) { source.request_stop(); },
                                         {.stop = source.get_token()});
  EXPECT_EQ(made.status().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(state().WaitUntilClientLeft());
}

TEST_F(ClientMemoriesTest, ReplacesAndAppends) {
  ASSERT_TRUE(Make("cats", "purr").ok());
  std::istringstream other("meow");
  ASSERT_TRUE(client_.ReplaceMemory(Named("cats"), TextReader(other)).ok());
  EXPECT_EQ(state().TextOf("cats"), "meow");
  v1::AppendToMemoryRequest::Spec spec;
  spec.set_name("cats");
  std::istringstream more(" hiss");
  const auto appended = client_.AppendToMemory(spec, TextReader(more));
  ASSERT_TRUE(appended.ok()) << appended.status();
  EXPECT_EQ(appended->memory().token_count(), 9);
  EXPECT_EQ(state().TextOf("cats"), "meow hiss");
}

// ---- A lost connection.

TEST_F(ClientMemoriesTest, ATextIsSentAgainFromItsBeginning) {
  state().FailNext({kUnavailable, "starting"}, 2);
  std::string text(200'000, 'x');
  std::istringstream stream(text + "end");
  const auto made = client_.CreateMemory(Named("cats"), TextReader(stream));
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(state().TextOf("cats"), text + "end");
  EXPECT_EQ(retries_.size(), 2u);
}

TEST_F(ClientMemoriesTest, AWriteWhoseReplyIsLostIsDoneOnce) {
  state().LoseNextReply();
  ASSERT_TRUE(Make("cats", "purr").ok());
  v1::AppendToMemoryRequest::Spec spec;
  spec.set_name("cats");
  state().LoseNextReply();
  std::istringstream more(" hiss");
  const auto appended = client_.AppendToMemory(spec, TextReader(more));
  ASSERT_TRUE(appended.ok()) << appended.status();
  EXPECT_EQ(state().TextOf("cats"), "purr hiss");

  v1::CopyMemoryRequest copy;
  copy.set_source("cats");
  copy.set_destination("copy");
  state().LoseNextReply();
  EXPECT_TRUE(client_.CopyMemory(copy).ok());
  v1::RollbackMemoryRequest back;
  back.set_name("cats");
  back.set_digest("aaaaaaaa");
  state().LoseNextReply();
  EXPECT_TRUE(client_.RollbackMemory(back).ok());
  EXPECT_EQ(state().TextOf("cats"), "purr");
  state().LoseNextReply();
  EXPECT_TRUE(client_.DeleteMemory("cats").ok());
  EXPECT_EQ(state().call_count(), 10);
}

TEST_F(ClientMemoriesTest, TheCallersRequestIdIsKept) {
  v1::CreateMemoryRequest::Spec spec = Named("cats");
  spec.mutable_options()->set_request_id("monday");
  for (int i = 0; i < 2; ++i) {
    std::istringstream stream("purr");
    const auto made = client_.CreateMemory(spec, TextReader(stream));
    ASSERT_TRUE(made.ok()) << made.status();
  }
  EXPECT_EQ(client_.WatchWrite("monday")->memory().name(), "cats");
  EXPECT_EQ(client_.WatchWrite("tuesday").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ClientMemoriesTest, DetachedWritesEndWithAccepted) {
  v1::CreateMemoryRequest::Spec spec = Named("cats");
  spec.mutable_options()->set_detached(true);
  std::istringstream stream("purr");
  const auto accepted = client_.CreateMemory(spec, TextReader(stream));
  ASSERT_TRUE(accepted.ok()) << accepted.status();
  EXPECT_TRUE(client_.WatchWrite(accepted->accepted().request_id())->has_memory());
}

// ---- Without the model.

TEST_F(ClientMemoriesTest, ListsAllPages) {
  for (const char* name : {"e", "b", "a", "d", "c"}) ASSERT_TRUE(Make(name, "1").ok());
  const auto list = client_.ListMemories();
  ASSERT_TRUE(list.ok()) << list.status();
  std::string names;
  for (const v1::Memory& memory : *list) names += memory.name();
  EXPECT_EQ(names, "abcde");
  v1::MemoryFilter filter;
  filter.set_name_prefix("b");
  EXPECT_EQ(client_.ListMemories(filter)->size(), 1u);
}

TEST_F(ClientMemoriesTest, GetsLabelsLoadsChecksAndDeletes) {
  ASSERT_TRUE(Make("cats", "purr").ok());
  EXPECT_EQ(client_.GetMemory("cats")->token_count(), 4);
  v1::UpdateMemoryRequest update;
  update.set_name("cats");
  (*update.mutable_labels()->mutable_labels())["topic"] = "pets";
  EXPECT_EQ(client_.UpdateMemory(update)->labels().at("topic"), "pets");
  EXPECT_EQ(client_.LoadMemory("cats")->state(), v1::Memory::STATE_RESIDENT);
  EXPECT_EQ(client_.UnloadMemory("cats")->state(), v1::Memory::STATE_ON_DISK);
  int64_t checked = 0;
  EXPECT_TRUE(client_.VerifyMemory("cats", [&checked](int64_t done, int64_t) { checked = done; }).ok());
  EXPECT_EQ(checked, 1024);
  EXPECT_EQ(client_.RebuildIndex("cats")->name(), "cats");
  EXPECT_TRUE(client_.DeleteMemory("cats").ok());
  EXPECT_EQ(client_.DeleteMemory("cats").code(), absl::StatusCode::kNotFound);
}

TEST_F(ClientMemoriesTest, WatchesUntilTheCallbackEndsIt) {
  ASSERT_TRUE(Make("cats", "purr").ok());
  std::vector<int> kinds;
  const absl::Status status = client_.WatchMemories({}, [&](const v1::WatchMemoriesResponse& event) {
    kinds.push_back(event.event_case());
    return event.event_case() != v1::WatchMemoriesResponse::kDeleted;
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(kinds, testing::ElementsAre(1, 3, 2));
  EXPECT_TRUE(state().WaitUntilClientLeft());
}

// ---- Between servers.

TEST_F(ClientMemoriesTest, AnExportGoesOnWhereTheConnectionBroke) {
  ASSERT_TRUE(Make("cats", "purr and meow").ok());
  std::string whole;
  const auto into = [](std::string& bytes) {
    return [&bytes](std::string_view data) {
      bytes += data;
      return absl::OkStatus();
    };
  };
  ASSERT_TRUE(client_.ExportMemory("cats", 0, into(whole)).ok());
  std::string broken;
  state().BreakNextTransfer(whole.size() - 5);
  ASSERT_TRUE(client_.ExportMemory("cats", 0, into(broken)).ok());
  EXPECT_EQ(broken, whole);
  EXPECT_EQ(state().last<v1::ExportMemoryRequest>().offset(), static_cast<int64_t>(whole.size()) - 5);
  EXPECT_EQ(state().last<v1::ExportMemoryRequest>().name(), "cats@" + std::string(64, 'a'));
}

TEST_F(ClientMemoriesTest, AnErrorOfTheSinkEndsTheExport) {
  ASSERT_TRUE(Make("cats", "purr").ok());
  const absl::Status status = client_.ExportMemory(
      "cats", 0, [](std::string_view) { return absl::ResourceExhaustedError("disk full"); });
  EXPECT_EQ(status, absl::ResourceExhaustedError("disk full"));
}

TEST_F(ClientMemoriesTest, AnImportSendsWhatTheServerDoesNotHave) {
  const std::string bytes = "{}\n" + std::string(500'000, 'x');
  v1::ImportMemoryRequest::Spec spec;
  spec.set_name("cats");
  spec.set_digest(std::string(64, 'd'));
  spec.set_total_bytes(static_cast<int64_t>(bytes.size()));
  std::vector<int64_t> offsets;
  state().BreakNextTransfer(1000);
  const auto made = client_.ImportMemory(spec, [&](int64_t offset) -> absl::StatusOr<std::string> {
    offsets.push_back(offset);
    return bytes.substr(static_cast<size_t>(offset), 100'000);
  });
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(made->digest(), std::string(64, 'd'));
  EXPECT_EQ(state().TextOf("cats"), std::string(500'000, 'x'));
  EXPECT_EQ(offsets.front(), 0);
  EXPECT_THAT(offsets, testing::Contains(1000));
}

TEST_F(ClientMemoriesTest, AnErrorOfTheSourceEndsTheImport) {
  v1::ImportMemoryRequest::Spec spec;
  spec.set_name("cats");
  spec.set_total_bytes(10);
  const auto made = client_.ImportMemory(
      spec, [](int64_t) -> absl::StatusOr<std::string> { return absl::UnknownError("disk on fire"); });
  EXPECT_EQ(made.status(), absl::UnknownError("disk on fire"));
  EXPECT_EQ(client_.GetMemory("cats").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace mtm::client
