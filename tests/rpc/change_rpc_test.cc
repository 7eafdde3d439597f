// SPDX-License-Identifier: Apache-2.0
// Rollback, copies, labels, deletion, loading; on servers that only read, too.
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/rpc/memories_fixture.h"

namespace mtm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class ChangeRpcTest : public MemoriesFixture {
 protected:
  // Digest of a version of tokens first, first + 1, ...
  std::string Write(const std::string& name, int32_t first) {
    CreateRequest request{.name = name, .leading = {198}, .layers = {1, 3}};
    request.replace = store_->Find(name).ok();
    for (int32_t id = first; id < first + 30; ++id) request.tokens.push_back(id);
    const auto memory = MakeMemory(SmallModel(), *store_, request);
    EXPECT_TRUE(memory.ok()) << memory.status();
    return (*memory)->info().digest;
  }
};

TEST_F(ChangeRpcTest, AnOlderVersionIsMadeTheCurrentOne) {
  const std::string old = Write("a", 100), current = Write("a", 200);
  ASSERT_EQ(Get("a").digest(), current);
  const auto memory = Must(&Stub::RollbackMemory, "name: 'a' digest: '" + old.substr(0, 8) + "'");
  EXPECT_EQ(memory.digest(), old);
  EXPECT_EQ(Get("a").digest(), old);
  EXPECT_THAT(Get("a").versions(), SizeIs(2));
  EXPECT_EQ(Get("a@" + current).digest(), current);
  EXPECT_EQ(server_->records().Take("RollbackMemory").memory, "a@" + old.substr(0, 8));
}

TEST_F(ChangeRpcTest, ARollbackWantsAVersionThatIsKept) {
  const std::string digest = Write("a", 100);
  const std::string other = digest[0] == '0' ? "11111111" : "00000000";
  const grpc::Status status = Fails(&Stub::RollbackMemory, "name: 'a' digest: '" + other + "'");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(status.error_message(), HasSubstr(digest.substr(0, 8)));
  EXPECT_EQ(Fails(&Stub::RollbackMemory, "name: 'b' digest: '" + digest + "'").error_code(),
            grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(Violations(Fails(&Stub::RollbackMemory, "name: 'a' digest: '123'")),
              ElementsAre(HasSubstr("digest: ")));
  EXPECT_THAT(Violations(Fails(&Stub::RollbackMemory, "name: 'a@12345678' request_id: '\\n'")),
              ElementsAre(HasSubstr("name: "), HasSubstr("request_id: ")));
}

TEST_F(ChangeRpcTest, ACopyIsTheSameContentUnderAnotherName) {
  const std::string old = Write("a", 100);
  Write("a", 200);
  const auto copy = Must(&Stub::CopyMemory, "source: 'a@" + old + "' destination: 'team/b'");
  EXPECT_EQ(copy.name(), "team/b");
  EXPECT_EQ(copy.digest(), old);
  EXPECT_THAT(SegmentFiles(), SizeIs(2));
  EXPECT_EQ(Fails(&Stub::CopyMemory, "source: 'a' destination: 'team/b'").error_code(),
            grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(Fails(&Stub::CopyMemory, "source: 'x' destination: 'y'").error_code(),
            grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(Violations(Fails(&Stub::CopyMemory, "source: 'A' destination: 'b@12345678'")),
              ElementsAre(HasSubstr("source: "), HasSubstr("destination: ")));
  Must(&Stub::DeleteMemory, "name: 'a'");
  EXPECT_EQ(server_->Generate("prompt: 'Hi' memory_uses { memory: 'team/b' layers: 1 }")
                .applied()
                .memory_uses(0)
                .memory(),
            "team/b@" + old);
}

TEST_F(ChangeRpcTest, LabelsAndMetadataAreSetEachByItself) {
  const std::string digest = Write("a", 100);
  Must(&Stub::UpdateMemory, R"(name: 'a' labels { labels { key: 'stage' value: 'live' } })");
  Must(&Stub::UpdateMemory,
       R"(name: 'a' metadata { fields { key: 'note' value { string_value: 'café' } } })");
  v1::Memory memory = Get("a");
  EXPECT_EQ(memory.digest(), digest);
  EXPECT_THAT(memory.versions(), SizeIs(1));
  EXPECT_EQ(memory.labels().at("stage"), "live");
  EXPECT_EQ(memory.metadata().fields().at("note").string_value(), "café");
  memory = Must(&Stub::UpdateMemory, "name: 'a' labels { } metadata { }");
  EXPECT_THAT(memory.labels(), IsEmpty());
  EXPECT_THAT(memory.metadata().fields(), IsEmpty());
}

TEST_F(ChangeRpcTest, LabelsAndMetadataHaveLimits) {
  Write("a", 100);
  EXPECT_THAT(Violations(Fails(&Stub::UpdateMemory, R"(
                  name: 'a'
                  labels { labels { key: 'Stage' value: '' } labels { key: 'x' value: ')" +
                                                        std::string(257, 'v') + R"(' } }
                  metadata { fields { key: 'n' value { number_value: nan } } })")),
              ElementsAre(HasSubstr("labels.labels[Stage]: "), "labels.labels[x]: has 257 bytes; at most 256",
                          "metadata[n]: has a number that is not finite"));
  EXPECT_THAT(
      Violations(Fails(&Stub::UpdateMemory, "name: 'a' metadata { fields { key: 'n' value { string_value: '" +
                                                std::string(17'000, 'x') + "' } } }")),
      ElementsAre(HasSubstr("bytes as JSON; at most 16384")));
  std::string many = "name: 'a' labels {";
  for (int i = 0; i < 65; ++i) absl::StrAppend(&many, " labels { key: 'k", i, "' value: '' }");
  EXPECT_THAT(Violations(Fails(&Stub::UpdateMemory, many + "}")),
              ElementsAre("labels.labels: has 65 labels; at most 64 are kept"));
  EXPECT_EQ(Fails(&Stub::UpdateMemory, "name: 'b' labels { }").error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(ChangeRpcTest, ARepeatedRequestIdDoesNothingTwice) {
  const std::string digest = Write("a", 100);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(Must(&Stub::CopyMemory, "source: 'a' destination: 'b' request_id: 'one'").digest(), digest);
    Must(&Stub::DeleteMemory, "name: 'a' request_id: 'two'");
  }
  EXPECT_EQ(Fails(&Stub::DeleteMemory, "name: 'a' request_id: 'three'").error_code(),
            grpc::StatusCode::NOT_FOUND);
  Restart();
  EXPECT_EQ(Must(&Stub::CopyMemory, "source: 'a' destination: 'b' request_id: 'one'").digest(), digest);
  EXPECT_THAT(Violations(Fails(&Stub::DeleteMemory, "name: 'b' request_id: '" + std::string(129, 'x') + "'")),
              ElementsAre(HasSubstr("request_id: must be 1 to 128 ")));
}

TEST_F(ChangeRpcTest, ADeletionWithADigestWantsTheCurrentVersion) {
  const std::string old = Write("a", 100), current = Write("a", 200);
  EXPECT_EQ(Fails(&Stub::DeleteMemory, "name: 'a@" + old + "'").error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(server_->records().Take("DeleteMemory").memory, "a@" + old);
  Must(&Stub::DeleteMemory, "name: 'a@" + current.substr(0, 12) + "'");
  EXPECT_EQ(Fails(&Stub::GetMemory, "name: 'a@" + old + "'").error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(SegmentFiles(), IsEmpty());
}

TEST_F(ChangeRpcTest, AMemoryIsLoadedWhenItIsUsedAndOnDemand) {
  const std::string digest = Write("a", 100);
  Restart();
  EXPECT_EQ(Get("a").state(), v1::Memory::STATE_ON_DISK);
  EXPECT_EQ(Must(&Stub::LoadMemory, "name: 'a'").state(), v1::Memory::STATE_RESIDENT);
  EXPECT_GT(store_->resident_bytes(), 0);
  EXPECT_EQ(Must(&Stub::UnloadMemory, "name: 'a'").state(), v1::Memory::STATE_ON_DISK);
  EXPECT_EQ(store_->resident_bytes(), 0);
  const auto request = FromText<v1::GenerateRequest>(
      "prompt: 'Hi' memory_uses { memory: 'a' layers: 1 } parameters { max_tokens: 3 }");
  for (int i = 0; i < 2; ++i) {
    const v1::GenerateResponse response = server_->Generate(request);
    EXPECT_EQ(response.applied().memory_uses(0).memory(), "a@" + digest);
    EXPECT_THAT(response.applied().memory_searches(), ElementsAre(v1::MEMORY_SEARCH_EXACT));
    EXPECT_EQ(Get("a").state(), v1::Memory::STATE_RESIDENT);
  }
  Must(&Stub::UnloadMemory, "name: 'a'");
  EXPECT_EQ(server_->Stream(request).front().started().memory_uses(0).memory(), "a@" + digest);
  Must(&Stub::UnloadMemory, "name: 'a'");
  grpc::ClientContext context;
  v1::ScoreResponse score;
  ASSERT_TRUE(server_->inference()
                  .Score(&context,
                         FromText<v1::ScoreRequest>(
                             "prompt: 'Hi' continuation: ' there' memory_uses { memory: 'a' layers: 1 }"),
                         &score)
                  .ok());
  EXPECT_THAT(score.applied().memory_searches(), ElementsAre(v1::MEMORY_SEARCH_EXACT));
  EXPECT_EQ(Fails(&Stub::LoadMemory, "name: 'b'").error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(Violations(Fails(&Stub::UnloadMemory, "name: 'a@12345678'")), ElementsAre(HasSubstr("name: ")));
}

TEST_F(ChangeRpcTest, AServerThatOnlyReadsChangesNothing) {
  const std::string digest = Write("a", 100);
  StoreOptions options;
  options.read_only = true;
  Restart(options);
  const auto refused = [&](const grpc::Status& status) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION) << status.error_message();
    EXPECT_THAT(status.error_message(), HasSubstr("read-only"));
  };
  refused(Fails(&Stub::RollbackMemory, "name: 'a' digest: '" + digest + "'"));
  refused(Fails(&Stub::CopyMemory, "source: 'a' destination: 'b'"));
  refused(Fails(&Stub::UpdateMemory, "name: 'a' labels { }"));
  refused(Fails(&Stub::DeleteMemory, "name: 'a'"));
  EXPECT_EQ(Get("a").digest(), digest);
  Must(&Stub::LoadMemory, "name: 'a'");
  Must(&Stub::UnloadMemory, "name: 'a'");
  server_->Generate("prompt: 'Hi' memory_uses { memory: 'a' layers: 1 }");
}

TEST_F(ChangeRpcTest, AMemoryThatDoesNotFitBesideWhatIsInUseIsWorthAnotherTry) {
  Write("a", 100);
  Write("b", 200);
  Restart({.max_resident_bytes = Get("a").size_bytes() * 3 / 2});
  auto in_use = store_->Get("a");
  const auto request = FromText<v1::GenerateRequest>(
      "prompt: 'Cats' memory_uses { memory: 'b' layers: 1 } parameters { max_tokens: 1 }");
  v1::GenerateResponse response;
  const grpc::Status status = server_->Generate(request, response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
  google::rpc::Status details;
  google::rpc::RetryInfo retry;
  ASSERT_TRUE(details.ParseFromString(status.error_details()));
  ASSERT_EQ(details.details_size(), 1);
  ASSERT_TRUE(details.details(0).UnpackTo(&retry));
  EXPECT_EQ(retry.retry_delay().seconds(), 1);
  in_use = absl::NotFoundError("let go");
  EXPECT_TRUE(server_->Generate(request, response).ok());
}

}  // namespace
}  // namespace mtm
