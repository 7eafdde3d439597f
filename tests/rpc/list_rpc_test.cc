// SPDX-License-Identifier: Apache-2.0
// ListMemories, GetMemory and WatchMemories.
#include <atomic>
#include <map>
#include <set>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/rpc/memories_fixture.h"

namespace mtm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

std::vector<std::string> Names(const v1::ListMemoriesResponse& response) {
  std::vector<std::string> names;
  for (const v1::Memory& memory : response.memories()) names.push_back(memory.name());
  return names;
}

class ListRpcTest : public MemoriesFixture {
 protected:
  v1::ListMemoriesResponse List(const std::string& request = "") {
    return Must(&Stub::ListMemories, request);
  }
  // Each of other tokens, so that they share nothing.
  void Add(const std::string& name) { AddMemory(SmallModel(), *store_, name, {1}, next_id_ += 100); }
  void Label(const std::string& name, const std::string& key, const std::string& value) {
    CommitOptions options;
    options.labels = std::map<std::string, std::string>{{key, value}};
    ASSERT_TRUE(store_->Update(name, options).ok());
  }

 private:
  std::atomic<int32_t> next_id_ = 0;
};

TEST_F(ListRpcTest, PagesHaveEveryMemoryOnceByName) {
  for (const char* name : {"c", "a", "team/b", "e", "b"}) Add(name);
  EXPECT_THAT(Names(List()), ElementsAre("a", "b", "c", "e", "team/b"));
  EXPECT_EQ(List().next_page_token(), "");
  const auto first = List("page_size: 2");
  EXPECT_THAT(Names(first), ElementsAre("a", "b"));
  const auto second = List("page_size: 2 page_token: '" + first.next_page_token() + "'");
  EXPECT_THAT(Names(second), ElementsAre("c", "e"));
  const auto last = List("page_size: 2 page_token: '" + second.next_page_token() + "'");
  EXPECT_THAT(Names(last), ElementsAre("team/b"));
  EXPECT_EQ(last.next_page_token(), "");
  EXPECT_EQ(List("page_size: 5").next_page_token(), "");
}

TEST_F(ListRpcTest, APageGoesOnWhereItsLastMemoryIsGone) {
  for (const char* name : {"a", "b", "c"}) Add(name);
  const std::string token = List("page_size: 2").next_page_token();
  ASSERT_TRUE(store_->Delete("b").ok());
  EXPECT_THAT(Names(List("page_token: '" + token + "'")), ElementsAre("c"));
}

TEST_F(ListRpcTest, FiltersAreMetTogether) {
  for (const char* name : {"cats", "team/a", "team/b", "teams"}) Add(name);
  Label("team/a", "stage", "live");
  Label("cats", "stage", "live");
  ASSERT_TRUE(store_->Unload("team/b").ok());
  EXPECT_THAT(Names(List("filter { name_prefix: 'team/' }")), ElementsAre("team/a", "team/b"));
  const std::string live = "labels { key: 'stage' value: 'live' }";
  EXPECT_THAT(Names(List("filter { " + live + " }")), ElementsAre("cats", "team/a"));
  EXPECT_THAT(Names(List("filter { name_prefix: 'team/' " + live + " }")), ElementsAre("team/a"));
  EXPECT_THAT(Names(List("filter { labels { key: 'stage' value: 'dead' } }")), IsEmpty());
  EXPECT_THAT(Names(List("filter { states: STATE_ON_DISK }")), ElementsAre("team/b"));
  EXPECT_THAT(Names(List("filter { states: [STATE_ON_DISK, STATE_RESIDENT] }")), SizeIs(4));
  const auto page = List("page_size: 1 filter { " + live + " }");
  EXPECT_THAT(Names(List("filter { " + live + " } page_token: '" + page.next_page_token() + "'")),
              ElementsAre("team/a"));
}

TEST_F(ListRpcTest, APageTokenGoesWithItsFilter) {
  for (const char* name : {"a", "b"}) Add(name);
  const std::string token = List("page_size: 1").next_page_token();
  const std::string other = "filter { name_prefix: 'a' } page_token: '" + token + "'";
  EXPECT_THAT(Violations(Fails(&Stub::ListMemories, other)), ElementsAre(HasSubstr("page_token: ")));
  EXPECT_THAT(Violations(Fails(&Stub::ListMemories, "page_token: 'nonsense!'")),
              ElementsAre(HasSubstr("page_token: ")));
  EXPECT_THAT(Violations(Fails(&Stub::ListMemories, "page_size: 0 filter { states: STATE_UNSPECIFIED }")),
              ElementsAre("page_size: is 0; must be 1 to 1000", HasSubstr("filter.states[0]: ")));
  EXPECT_THAT(Violations(Fails(&Stub::ListMemories, "page_size: 1001")), SizeIs(1));
}

TEST_F(ListRpcTest, AMemoryIsDescribedInFull) {
  const auto made = AddMemory(SmallModel(), *store_, "a", {1, 3}, 100, 30);
  CommitOptions options;
  options.labels = std::map<std::string, std::string>{{"stage", "live"}};
  options.metadata = R"({"made by":["hand",7]})";
  ASSERT_TRUE(store_->Update("a", options).ok());
  const v1::Memory memory = Get("a");
  EXPECT_EQ(memory.digest(), made->info().digest);
  EXPECT_EQ(memory.source_digest(), made->info().source_digest);
  EXPECT_EQ(memory.model_fingerprint(), SmallModel().fingerprint());
  EXPECT_EQ(memory.token_count(), 30);
  EXPECT_THAT(memory.layers(), ElementsAre(1, 3));
  EXPECT_THAT(memory.leading_token_ids(), ElementsAre(198));
  EXPECT_EQ(memory.data_type(), v1::DATA_TYPE_F32);
  EXPECT_EQ(memory.state(), v1::Memory::STATE_RESIDENT);
  EXPECT_EQ(memory.labels().at("stage"), "live");
  EXPECT_EQ(memory.metadata().fields().at("made by").list_value().values(1).number_value(), 7);
  ASSERT_THAT(memory.sources(), SizeIs(1));
  EXPECT_EQ(memory.sources(0).token_count(), 30);
  EXPECT_FALSE(memory.has_index());
  ASSERT_THAT(memory.versions(), SizeIs(1));
  EXPECT_EQ(memory.versions(0).digest(), memory.digest());
  EXPECT_EQ(memory.versions(0).create_time().nanos(), memory.create_time().nanos());
  EXPECT_THAT(List().memories(0).versions(), IsEmpty());
}

// What a watcher knows, kept as a client would keep it.
class Watcher {
 public:
  Watcher(v1::MemoryService::Stub& stub, const std::string& request = "")
      : reader_(stub.WatchMemories(&context_, FromText<v1::WatchMemoriesRequest>(request))) {}

  // Reads on until `done`(known memories); false where the stream ends before.
  template <typename Condition>
  bool ReadUntil(Condition done) {
    while (!done(known_)) {
      v1::WatchMemoriesResponse event;
      if (!reader_->Read(&event)) return false;
      ++n_events_;
      if (event.has_updated()) known_[event.updated().name()] = event.updated();
      if (!event.deleted().empty()) {
        EXPECT_EQ(known_.erase(event.deleted()), 1) << event.deleted();
      }
      synced_ = synced_ || event.has_synced();
    }
    return true;
  }
  bool Sync() {
    return ReadUntil([this](const auto&) { return synced_; });
  }

  std::set<std::string> names() const {
    std::set<std::string> names;
    for (const auto& [name, memory] : known_) names.insert(name);
    return names;
  }
  int n_events() const { return n_events_; }
  void Cancel() { context_.TryCancel(); }
  grpc::Status Finish() { return reader_->Finish(); }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::WatchMemoriesResponse>> reader_;
  std::map<std::string, v1::Memory> known_;
  bool synced_ = false;
  int n_events_ = 0;
};

TEST_F(ListRpcTest, AWatcherHearsOfWhatIsThereAndOfEveryChange) {
  Add("a");
  Add("b");
  Watcher watcher(server_->memories());
  ASSERT_TRUE(watcher.Sync());
  EXPECT_THAT(watcher.names(), ElementsAre("a", "b"));
  Add("c");
  ASSERT_TRUE(watcher.ReadUntil([](const auto& known) { return known.contains("c"); }));
  Label("a", "stage", "live");
  ASSERT_TRUE(watcher.ReadUntil([](const auto& known) { return known.at("a").labels().contains("stage"); }));
  ASSERT_TRUE(store_->Unload("b").ok());
  ASSERT_TRUE(watcher.ReadUntil(
      [](const auto& known) { return known.at("b").state() == v1::Memory::STATE_ON_DISK; }));
  ASSERT_TRUE(store_->Delete("a").ok());
  ASSERT_TRUE(watcher.ReadUntil([](const auto& known) { return !known.contains("a"); }));
  EXPECT_THAT(watcher.names(), ElementsAre("b", "c"));
  watcher.Cancel();
  EXPECT_EQ(watcher.Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(server_->records().Take("WatchMemories").status.code(), absl::StatusCode::kCancelled);
}

TEST_F(ListRpcTest, AnEmptyFolderIsSyncedAtOnce) {
  Watcher watcher(server_->memories());
  EXPECT_TRUE(watcher.Sync());
  EXPECT_EQ(watcher.n_events(), 1);
}

TEST_F(ListRpcTest, AWatcherHearsWhenAMemoryLeavesItsFilter) {
  Add("a");
  Add("b");
  Label("a", "stage", "live");
  Watcher watcher(server_->memories(), "filter { labels { key: 'stage' value: 'live' } }");
  ASSERT_TRUE(watcher.Sync());
  EXPECT_THAT(watcher.names(), ElementsAre("a"));
  Label("b", "stage", "live");
  ASSERT_TRUE(watcher.ReadUntil([](const auto& known) { return known.contains("b"); }));
  Label("a", "stage", "dead");
  ASSERT_TRUE(watcher.ReadUntil([](const auto& known) { return !known.contains("a"); }));
  ASSERT_TRUE(store_->Delete("a").ok());  // not heard of: it is not known
  Label("b", "stage", "dead");
  ASSERT_TRUE(watcher.ReadUntil([](const auto& known) { return known.empty(); }));
}

TEST_F(ListRpcTest, ASlowWatcherGetsTheLastStateAndNotEveryOne) {
  Add("a");
  Watcher watcher(server_->memories());
  ASSERT_TRUE(watcher.Sync());
  const int before = watcher.n_events();
  constexpr int kChanges = 200;
  CommitOptions options;
  // Of which few fit into queues and HTTP/2's window.
  options.labels.emplace();
  for (int i = 0; i < 60; ++i) options.labels->emplace(absl::StrCat("k", i), std::string(250, 'x'));
  for (int i = 0; i < kChanges; ++i) {
    (*options.labels)["count"] = absl::StrCat(i);
    ASSERT_TRUE(store_->Update("a", options).ok());
  }
  ASSERT_TRUE(watcher.ReadUntil([&](const auto& known) {
    const auto count = known.at("a").labels().find("count");
    return count != known.at("a").labels().end() && count->second == absl::StrCat(kChanges - 1);
  }));
  EXPECT_LT(watcher.n_events() - before, kChanges);
}

TEST_F(ListRpcTest, WatchersDoNotKeepAServerUp) {
  ServerOptions options;
  options.shutdown_grace_ms = 600'000;
  Restart({}, options);
  Watcher watcher(server_->memories());
  ASSERT_TRUE(watcher.Sync());
  server_->server().Shutdown();
  EXPECT_FALSE(watcher.ReadUntil([](const auto&) { return false; }));
  const grpc::Status status = watcher.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("shutting down"));
}

TEST_F(ListRpcTest, AWatchersFilterIsChecked) {
  Watcher watcher(server_->memories(), "filter { states: 77 }");
  EXPECT_FALSE(watcher.Sync());
  EXPECT_THAT(Violations(watcher.Finish()), ElementsAre(HasSubstr("filter.states[0]: is 77")));
}

TEST_F(ListRpcTest, WatchersOfChangesFromManyThreadsEndUpAlike) {
  std::vector<std::unique_ptr<Watcher>> watchers;
  for (int i = 0; i < 4; ++i) watchers.push_back(std::make_unique<Watcher>(server_->memories()));
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 5; ++i) {
        Add(absl::StrCat("m", t, i));
        if (i % 2 == 0) {
          EXPECT_TRUE(store_->Delete(absl::StrCat("m", t, i)).ok());
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  Add("last");
  const std::set<std::string> left = {"last", "m01", "m03", "m11", "m13", "m21", "m23"};
  for (const auto& watcher : watchers) {
    EXPECT_TRUE(watcher->ReadUntil([&](const auto&) { return watcher->names() == left; }));
  }
}

}  // namespace
}  // namespace mtm
