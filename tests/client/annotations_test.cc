// SPDX-License-Identifier: Apache-2.0
#include "client/options/annotations.h"

#include "client/options/memory_filter.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mtm/v1/memory_service.pb.h"

namespace mtm::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

TEST(ParseLabelsTest, KeysAndValues) {
  EXPECT_THAT(*ParseLabels({"topic=pets", "url=http://x/?a=b", "empty="}),
              ElementsAre(Pair("empty", ""), Pair("topic", "pets"), Pair("url", "http://x/?a=b")));
}

TEST(ParseLabelsTest, NamesWhatIsNoLabel) {
  EXPECT_THAT(std::string(ParseLabels({"topic"}).status().message()), HasSubstr("\"topic\" is no label"));
  EXPECT_FALSE(ParseLabels({"=pets"}).ok());
  EXPECT_THAT(std::string(ParseLabels({"a=1", "a=2"}).status().message()), HasSubstr("a comes twice"));
}

TEST(ParseMetadataTest, OnlyAnObject) {
  EXPECT_EQ(ParseMetadata(R"({"a": {"b": [1, null]}})")->fields().at("a").struct_value().fields_size(), 1);
  EXPECT_TRUE(ParseMetadata("{}").ok());
  for (const char* wrong : {"", "1", "[]", "{", "{\"a\" 1}"})
    EXPECT_FALSE(ParseMetadata(wrong).ok()) << wrong;
}

TEST(AnnotationOptionsTest, FillsOnlyWhatWasGiven) {
  v1::CreateMemoryRequest::Spec spec;
  ASSERT_TRUE(AnnotationOptions().Fill(spec).ok());
  EXPECT_EQ(spec.labels_size(), 0);
  EXPECT_FALSE(spec.has_metadata());
  ASSERT_TRUE((AnnotationOptions{{"a=1"}, "{}"}.Fill(spec).ok()));
  EXPECT_EQ(spec.labels().at("a"), "1");
  EXPECT_TRUE(spec.has_metadata());
}

TEST(FilterOptionsTest, AllOfItTogether) {
  const auto filter = FilterOptions{"team/", {"a=1"}, {"disk", "quarantined"}}.Filter();
  ASSERT_TRUE(filter.ok()) << filter.status();
  EXPECT_EQ(filter->name_prefix(), "team/");
  EXPECT_EQ(filter->labels().at("a"), "1");
  EXPECT_THAT(filter->states(), ElementsAre(v1::Memory::STATE_ON_DISK, v1::Memory::STATE_QUARANTINED));
}

}  // namespace
}  // namespace mtm::client
