// SPDX-License-Identifier: Apache-2.0
#include "tests/load/workload.h"

#include <gtest/gtest.h>

namespace mtm::load {
namespace {

v1::Model SmallModel() {
  v1::Model model;
  model.set_vocabulary_size(50);
  return model;
}

TEST(WorkloadTest, ReadsARequest) {
  const auto kind = RequestKind::Parse(
      R"({"weight": 3, "prompt_tokens": 7, "max_tokens": 9, "sample_count": 2, "mode": "exact", "temperature": 0,
          "memories": ["cats:layers=7-9,method=2", "dogs"]})");
  ASSERT_TRUE(kind.ok()) << kind.status();
  EXPECT_EQ(kind->weight, 3);
  EXPECT_EQ(kind->prompt_tokens, 7);
  const v1::GenerationParameters& parameters = kind->request.parameters();
  EXPECT_EQ(parameters.max_tokens(), 9);
  EXPECT_EQ(parameters.sample_count(), 2);
  EXPECT_EQ(parameters.mode(), v1::MODE_EXACT);
  EXPECT_EQ(parameters.sampling().temperature(), 0);
  ASSERT_EQ(kind->request.memory_uses_size(), 2);
  EXPECT_EQ(kind->request.memory_uses(0).method(), v1::METHOD_TYPE_2);
  EXPECT_EQ(kind->request.memory_uses(1).memory(), "dogs");
}

TEST(WorkloadTest, WhatIsNoRequestIsRefused) {
  for (const char* text :
       {"", "[]", "{", R"({"weight": 0})", R"({"prompt_tokens": 0})", R"({"max_tokens": "x"})",
        R"({"mode": "fast"})", R"({"promt_tokens": 3})", R"({"memories": ["cats:l=3"]})"}) {
    EXPECT_EQ(RequestKind::Parse(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(WorkloadTest, DrawsKindsByWeightAndPromptsOfTheVocabulary) {
  const std::vector<RequestKind> kinds = {*RequestKind::Parse(R"({"weight": 3})"),
                                          *RequestKind::Parse(R"({"weight": 1, "prompt_tokens": 5})")};
  Workload workload(kinds, SmallModel(), 1);
  int second = 0;
  for (int i = 0; i < 1000; ++i) {
    const Workload::Draw draw = workload.Next();
    second += draw.kind == 1 ? 1 : 0;
    EXPECT_EQ(draw.request.prompt_tokens().ids_size(), draw.kind == 1 ? 5 : 64);
    for (const int32_t id : draw.request.prompt_tokens().ids()) EXPECT_TRUE(id >= 0 && id < 50) << id;
  }
  EXPECT_NEAR(second, 250, 70);  // five standard deviations
}

TEST(WorkloadTest, TheSameSeedDrawsTheSame) {
  const std::vector<RequestKind> kinds = {*RequestKind::Parse("{}")};
  Workload one(kinds, SmallModel(), 5), same(kinds, SmallModel(), 5), other(kinds, SmallModel(), 6);
  const std::string first = one.Next().request.SerializeAsString();
  EXPECT_EQ(same.Next().request.SerializeAsString(), first);
  EXPECT_NE(other.Next().request.SerializeAsString(), first);
}

TEST(WorkloadTest, ArrivalsHaveTheRate) {
  const std::vector<RequestKind> kinds = {*RequestKind::Parse("{}")};
  Workload workload(kinds, SmallModel(), 2);
  double seconds = 0;
  for (int i = 0; i < 10'000; ++i) seconds += workload.NextArrival(20);
  EXPECT_NEAR(seconds, 500, 25);  // five standard deviations
}

}  // namespace
}  // namespace mtm::load
