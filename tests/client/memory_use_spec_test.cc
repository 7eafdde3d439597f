// SPDX-License-Identifier: Apache-2.0
#include "client/options/memory_use_spec.h"

#include "client/options/generate_options.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mtm::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ParseMemoryUseTest, NameAloneLeavesEverythingUnset) {
  const auto use = ParseMemoryUse("team/cats");
  ASSERT_TRUE(use.ok());
  v1::MemoryUse expected;
  expected.set_memory("team/cats");
  EXPECT_EQ(use->SerializeAsString(), expected.SerializeAsString());
}

TEST(ParseMemoryUseTest, EverySetting) {
  const auto use =
      ParseMemoryUse("cats@0f3a9c21:layers=7-9,method=2,k=4,mf=5,bf=0.9,ts=1e-2,r=0.33,heads=0.1");
  ASSERT_TRUE(use.ok()) << use.status();
  EXPECT_EQ(use->memory(), "cats@0f3a9c21");
  EXPECT_THAT(use->layers(), ElementsAre(7, 8, 9));
  EXPECT_EQ(use->method(), v1::METHOD_TYPE_2);
  EXPECT_EQ(use->k(), 4);
  EXPECT_EQ(use->memory_fraction(), 5);
  EXPECT_EQ(use->bookkeeping_fraction(), 0.9);
  EXPECT_EQ(use->score_scale(), 0.01);
  EXPECT_EQ(use->residual_fraction(), 0.33);
  EXPECT_EQ(use->head_fraction(), 0.1);
}

TEST(ParseMemoryUseTest, LayersMayHoldCommas) {
  const auto use = ParseMemoryUse("cats:layers=1,3,5-6,k=2");
  ASSERT_TRUE(use.ok()) << use.status();
  EXPECT_THAT(use->layers(), ElementsAre(1, 3, 5, 6));
  EXPECT_EQ(use->k(), 2);
}

TEST(ParseMemoryUseTest, ValuesOutOfRangeAreTheServersToRefuse) {
  const auto use = ParseMemoryUse("cats:k=0,bf=7,ts=nan");
  ASSERT_TRUE(use.ok()) << use.status();
  EXPECT_EQ(use->k(), 0);
  EXPECT_EQ(use->bookkeeping_fraction(), 7);
}

TEST(ParseMemoryUseTest, ErrorsSayWhereAndWhat) {
  const auto message = [](const char* spec) { return std::string(ParseMemoryUse(spec).status().message()); };
  EXPECT_THAT(message(""), HasSubstr("no name"));
  EXPECT_THAT(message(":k=5"), HasSubstr("no name"));
  EXPECT_THAT(message("cats:"), HasSubstr("no key=value"));
  EXPECT_THAT(message("cats:7"), HasSubstr("\"7\" is no key=value"));
  EXPECT_THAT(message("cats:k=5,7"), HasSubstr("\"7\" is no key=value"));
  EXPECT_THAT(message("cats:kk=5"), HasSubstr("there are layers, method, k, mf, bf, ts, r, heads"));
  EXPECT_THAT(message("cats:k=5,k=5"), HasSubstr("k comes twice"));
  EXPECT_THAT(message("cats:k=five"), HasSubstr("k: \"five\" is no integer"));
  EXPECT_THAT(message("cats:bf="), HasSubstr("bf: \"\" is no number"));
  EXPECT_THAT(message("cats:method=4"), HasSubstr("method: \"4\" is no method"));
  EXPECT_THAT(message("cats:layers=9-7"), HasSubstr("layers: \"9-7\" is no list of layers"));
}

TEST(ApplyDefaultsTest, FillsOnlyWhatIsUnset) {
  const v1::MemoryUse defaults = *ParseMemoryUse("x:layers=1,2,k=9,bf=0.5,method=1");
  v1::MemoryUse use = *ParseMemoryUse("cats:layers=7,k=0");
  ApplyDefaults(defaults, use);
  EXPECT_EQ(use.memory(), "cats");
  EXPECT_THAT(use.layers(), ElementsAre(7));
  EXPECT_EQ(use.k(), 0);
  EXPECT_EQ(use.bookkeeping_fraction(), 0.5);
  EXPECT_EQ(use.method(), v1::METHOD_TYPE_1);
  EXPECT_FALSE(use.has_score_scale());
}

TEST(GenerateOptionsTest, UnsetOptionsLeaveFieldsUnset) {
  GenerateOptions options;
  options.prompt.prompt = "Cats";
  const auto request = options.Request();
  ASSERT_TRUE(request.ok());
  EXPECT_EQ(request->prompt(), "Cats");
  EXPECT_FALSE(request->has_leading_newline());
  EXPECT_FALSE(request->parameters().has_max_tokens());
  EXPECT_FALSE(request->parameters().sampling().has_temperature());
  EXPECT_EQ(request->parameters().mode(), v1::MODE_UNSPECIFIED);
}

TEST(GenerateOptionsTest, ShortFormsApplyToUsesThatDoNotSetThem) {
  GenerateOptions options;
  options.memory.memories = {"cats:k=3", "dogs:layers=10"};
  options.memory.short_forms = {{"k", "8"}, {"layers", "7-9"}};
  const auto request = options.Request();
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->memory_uses(0).k(), 3);
  EXPECT_THAT(request->memory_uses(0).layers(), ElementsAre(7, 8, 9));
  EXPECT_EQ(request->memory_uses(1).k(), 8);
  EXPECT_THAT(request->memory_uses(1).layers(), ElementsAre(10));
}

TEST(GenerateOptionsTest, ShortFormWithoutAMemoryIsAnError) {
  GenerateOptions options;
  options.memory.short_forms = {{"r", "0.1"}};
  EXPECT_THAT(std::string(options.Request().status().message()), HasSubstr("--resid needs a --memory"));
}

}  // namespace
}  // namespace mtm::client
