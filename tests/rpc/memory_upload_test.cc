// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/memory_upload.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/rpc/bad_request.h"
#include "tests/rpc/test_models.h"

namespace mtm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class MemoryUploadTest : public testing::Test {
 protected:
  MemoryUploadTest() { AddMemory(model_, *store_, "taken", {1}); }

  // The status of the first message that is refused, or what they come to.
  absl::StatusOr<MemoryRequest> Upload(const std::vector<std::string>& messages,
                                       int64_t max_bytes = 1000) const {
    MemoryUpload upload(info_, *store_, max_bytes);
    for (const std::string& message : messages) {
      const absl::Status status = upload.Add(FromText<v1::CreateMemoryRequest>(message));
      if (!status.ok()) return status;
    }
    return upload.Finish();
  }

  const Model& model_ = SmallModel();
  const Tokenizer& tokenizer_ = Gpt2Tokenizer();
  const std::unique_ptr<MemoryStore> store_ = OpenStore(FreshFolder());
  ModelInfo info_ = ModelInfo::Of(model_.config(), model_.fingerprint(), &tokenizer_);
};

TEST_F(MemoryUploadTest, ATextIsPutTogether) {
  const auto request = Upload({"spec { name: 'a' }", "text: 'Hi th'", "text: ''", "text: 'ere'"});
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->name, "a");
  EXPECT_THAT(request->leading, ElementsAre(198));
  EXPECT_THAT(request->tokens, ElementsAre(17250, 612));
  EXPECT_THAT(request->layers, ElementsAre(1, 2, 3, 4));
}

TEST_F(MemoryUploadTest, AChunkMayEndWithinACharacter) {
  const auto request = Upload({"spec { name: 'a' }", "text: 'caf\\303'", "text: '\\251'"});
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(tokenizer_.Decode(request->tokens), "caf\u00e9");
}

TEST_F(MemoryUploadTest, ATextWithoutANewlineIsKeptWhole) {
  const auto request =
      Upload({"spec { name: 'a' leading_newline: false layers: [3, 1] }", "text: 'Hi there'"});
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_THAT(request->leading, ElementsAre());
  EXPECT_THAT(request->tokens, ElementsAre(17250, 612));
  EXPECT_THAT(request->layers, ElementsAre(1, 3));
}

TEST_F(MemoryUploadTest, TheFirstOfGivenIdsIsDropped) {
  const auto request = Upload({"spec { name: 'a' }", "token_ids { ids: 9 }", "token_ids { ids: [8, 7] }"});
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_THAT(request->leading, ElementsAre(9));
  EXPECT_THAT(request->tokens, ElementsAre(8, 7));
}

TEST_F(MemoryUploadTest, AsManyAreDroppedAsAreAskedFor) {
  const auto none = Upload({"spec { name: 'a' dropped_token_count: 0 }", "text: 'Hi'"});
  EXPECT_THAT(none->leading, ElementsAre());
  EXPECT_THAT(none->tokens, ElementsAre(198, 17250));
  const auto two = Upload({"spec { name: 'a' dropped_token_count: 2 }", "token_ids { ids: [1, 2, 3] }"});
  EXPECT_THAT(two->leading, ElementsAre(1, 2));
  EXPECT_THAT(two->tokens, ElementsAre(3));
}

TEST_F(MemoryUploadTest, NamesInUseAreRefusedBeforeTheTextComes) {
  const absl::Status status = Upload({"spec { name: 'taken' }"}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(status.message()), HasSubstr("taken"));
}

TEST_F(MemoryUploadTest, TheSizeIsLimited) {
  EXPECT_TRUE(Upload({"spec { name: 'a' }", "text: 'abcd'", "text: 'efgh'"}, 8).ok());
  EXPECT_EQ(Upload({"spec { name: 'a' }", "text: 'abcd'", "text: 'efghi'"}, 8).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(Upload({"spec { name: 'a' }", "token_ids { ids: [1, 2] }"}, 8).ok());
  EXPECT_EQ(
      Upload({"spec { name: 'a' }", "token_ids { ids: [1, 2] }", "token_ids { ids: 3 }"}, 8).status().code(),
      absl::StatusCode::kResourceExhausted);
}

TEST_F(MemoryUploadTest, WithoutATokenizerOnlyIdsAreTaken) {
  info_.tokenizer = nullptr;
  EXPECT_EQ(Upload({"spec { name: 'a' }", "text: 'Hi'"}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(Upload({"spec { name: 'a' }", "token_ids { ids: [1, 2] }"}).ok());
}

TEST_F(MemoryUploadTest, BadMessagesAreNamed) {
  const std::string spec = "spec { name: 'a' }";
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{}, "spec: is missing; the first message must be `spec`"},
      {{"text: 'Hi'"}, "spec: is missing; the first message must be `spec`"},
      {{""}, "spec: is missing; the first message must be `spec`"},
      {{spec, spec}, "spec: came before; only the first message is `spec`"},
      {{spec, ""}, "part: is missing; must be `text` or `token_ids`"},
      {{spec}, "text: is empty; a memory holds at least one token"},
      {{spec, "text: ''"}, "text: is empty; a memory holds at least one token"},
      {{spec, "token_ids {}"}, "text: is empty; a memory holds at least one token"},
      {{spec, "text: 'Hi'", "token_ids { ids: 1 }"},
       "token_ids: came after text; a memory is made of one or the other"},
      {{spec, "token_ids { ids: 1 }", "text: 'Hi'"},
       "text: came after token ids; a memory is made of one or the other"},
      {{spec, "token_ids { ids: [1, 2] }", "token_ids { ids: [3, 50257] }"},
       "token_ids.ids[3]: is 50257; the vocabulary is 0 to 50256"},
      {{spec, "token_ids { ids: 1 }"},
       "token_ids: has 1 tokens, of which the first 1 are dropped; a memory holds at least one token"},
      {{"spec { name: 'a' dropped_token_count: 3 }", "text: 'Hi there'"},
       "text: has 3 tokens, of which the first 3 are dropped; a memory holds at least one token"},
      {{"spec { name: 'a' layers: [1, 5] }"}, "spec.layers[1]: is 5; this model has layers 1 to 4"},
      {{"spec { name: 'a' layers: [2, 2] }"},
       "spec.layers[1]: is 2, as spec.layers[0] is; each layer is named once"},
      {{"spec { name: 'a' dropped_token_count: -1 }"}, "spec.dropped_token_count: is -1; must be 0 to 63"},
      {{"spec { name: 'a' dropped_token_count: 64 }"}, "spec.dropped_token_count: is 64; must be 0 to 63"},
  };
  for (const auto& [messages, violation] : cases) {
    const absl::Status status = Upload(messages).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << violation;
    EXPECT_THAT(Violations(status), ElementsAre(violation));
  }
}

TEST_F(MemoryUploadTest, BrokenTextIsNamed) {
  EXPECT_THAT(Violations(Upload({"spec { name: 'a' }", "text: 'caf\\303'"}).status()),
              ElementsAre(HasSubstr("text: ")));
}

TEST_F(MemoryUploadTest, ABadNameIsNamed) {
  EXPECT_THAT(Violations(Upload({"spec {}"}).status()), ElementsAre(testing::StartsWith("spec.name: ")));
  EXPECT_THAT(Violations(Upload({"spec { name: 'A/../b' }"}).status()),
              ElementsAre(testing::StartsWith("spec.name: ")));
  EXPECT_THAT(Violations(Upload({"spec { name: 'a@12345678' }"}).status()),
              ElementsAre(testing::StartsWith("spec.name: ")));
}

}  // namespace
}  // namespace mtm
