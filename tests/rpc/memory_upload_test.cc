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
  // The status of the first message that is refused, or what they come to.
  template <typename Message>
  absl::StatusOr<WriteRequest> Put(MemoryUpload upload, const std::vector<std::string>& messages) const {
    for (const std::string& message : messages) {
      const absl::Status status = upload.Add(FromText<Message>(message));
      if (!status.ok()) return status;
    }
    return upload.Finish();
  }
  absl::StatusOr<CreateRequest> Upload(const std::vector<std::string>& messages, int64_t max_bytes = 1000,
                                       bool replace = false) const {
    const auto request = Put<v1::CreateMemoryRequest>(MemoryUpload(info_, max_bytes, replace), messages);
    if (!request.ok()) return request.status();
    return std::get<CreateRequest>(request->change);
  }
  absl::StatusOr<WriteRequest> UploadWrite(const std::vector<std::string>& messages) const {
    return Put<v1::CreateMemoryRequest>(MemoryUpload(info_, 1000), messages);
  }
  absl::StatusOr<WriteRequest> UploadAppend(const std::vector<std::string>& messages) const {
    return Put<v1::AppendToMemoryRequest>(MemoryUpload(info_, 1000), messages);
  }

  const Model& model_ = SmallModel();
  const Tokenizer& tokenizer_ = Gpt2Tokenizer();
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

TEST_F(MemoryUploadTest, WhatASpecMayCarryIsKept) {
  const auto write = UploadWrite({R"(spec {
      name: 'a' data_type: DATA_TYPE_F16 source: 'letter' labels { key: 'team' value: 'x' }
      metadata { fields { key: 'n' value { number_value: 1 } } }
      options { request_id: 'id 1' detached: true } })",
                                  "text: 'Hi'"});
  ASSERT_TRUE(write.ok()) << write.status();
  EXPECT_EQ(write->request_id, "id 1");
  EXPECT_TRUE(write->detached);
  const auto& request = std::get<CreateRequest>(write->change);
  EXPECT_EQ(request.dtype, DataType::kF16);
  EXPECT_EQ(request.source, "letter");
  EXPECT_FALSE(request.replace);
  EXPECT_THAT(request.labels, testing::Optional(ElementsAre(std::pair("team", "x"))));
  EXPECT_EQ(request.metadata, "{\"n\":1}");
}

TEST_F(MemoryUploadTest, WhatASpecDoesNotSayIsLeftAsItIs) {
  const auto request = Upload({"spec { name: 'a' }", "text: 'Hi'"}, 1000, /*replace=*/true);
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_TRUE(request->replace);
  EXPECT_EQ(request->labels, std::nullopt);
  EXPECT_EQ(request->metadata, std::nullopt);
  EXPECT_EQ(request->dtype, DataType::kF32);
}

TEST_F(MemoryUploadTest, AnAppendedTextIsStoredWhole) {
  const auto text = UploadAppend({"spec { name: 'a@12345678' source: 's' }", "text: 'Hi th'", "text: 'ere'"});
  ASSERT_TRUE(text.ok()) << text.status();
  const auto& request = std::get<AppendRequest>(text->change);
  EXPECT_EQ(request.memory, "a@12345678");
  EXPECT_EQ(request.source, "s");
  EXPECT_THAT(request.tokens, ElementsAre(17250, 612));
  const auto ids = UploadAppend({"spec { name: 'a' }", "token_ids { ids: [9, 8] }"});
  ASSERT_TRUE(ids.ok()) << ids.status();
  EXPECT_THAT(std::get<AppendRequest>(ids->change).tokens, ElementsAre(9, 8));
}

TEST_F(MemoryUploadTest, BadAppendsAreNamed) {
  EXPECT_THAT(Violations(UploadAppend({}).status()),
              ElementsAre("spec: is missing; the first message must be `spec`"));
  EXPECT_THAT(Violations(UploadAppend({"spec { name: 'A' }"}).status()),
              ElementsAre(HasSubstr("spec.name: ")));
  EXPECT_THAT(Violations(UploadAppend({"spec { name: 'a' }", "text: ''"}).status()),
              ElementsAre("text: is empty; a memory holds at least one token"));
  EXPECT_THAT(Violations(UploadAppend({"spec { name: 'a' }", "token_ids { ids: 50257 }"}).status()),
              ElementsAre("token_ids.ids[0]: is 50257; the vocabulary is 0 to 50256"));
  EXPECT_THAT(Violations(UploadAppend({"spec { name: 'a' options { detached: true } }"}).status()),
              ElementsAre("spec.options.request_id: is missing; a detached write is found again by it"));
}

TEST_F(MemoryUploadTest, LongOrBadFieldsAreNamed) {
  v1::CreateMemoryRequest message;
  v1::CreateMemoryRequest::Spec& spec = *message.mutable_spec();
  spec.set_name("a");
  spec.set_source(std::string(257, 's'));
  spec.mutable_options()->set_request_id(std::string(129, 'i'));
  (*spec.mutable_labels())["Bad key"] = "value";
  (*spec.mutable_labels())["key"] = std::string(257, 'v');
  (*spec.mutable_metadata()->mutable_fields())["m"].set_string_value(std::string(17 << 10, 'm'));
  EXPECT_THAT(Violations(MemoryUpload(info_, 1000).Add(message)),
              ElementsAre("spec.source: has 257 bytes; at most 256", HasSubstr("spec.labels[Bad key]: "),
                          HasSubstr("spec.labels[key]: "), HasSubstr("spec.metadata: "),
                          HasSubstr("spec.options.request_id: ")));
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
      {{"spec { name: 'a' data_type: 3 }"}, "spec.data_type: is 3; must be DATA_TYPE_F32 or DATA_TYPE_F16"},
      {{"spec { name: 'a' options { detached: true } }"},
       "spec.options.request_id: is missing; a detached write is found again by it"},
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
