// SPDX-License-Identifier: Apache-2.0
#include "client/options/lists.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mtm::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(ParseLayersTest, ListsAndRanges) {
  EXPECT_THAT(*ParseLayers("7"), ElementsAre(7));
  EXPECT_THAT(*ParseLayers("7,8,9"), ElementsAre(7, 8, 9));
  EXPECT_THAT(*ParseLayers("7-9"), ElementsAre(7, 8, 9));
  EXPECT_THAT(*ParseLayers("1-3,7,10-10"), ElementsAre(1, 2, 3, 7, 10));
}

TEST(ParseLayersTest, LeavesRangesAndRepetitionsToTheServer) {
  EXPECT_THAT(*ParseLayers("0,7,7"), ElementsAre(0, 7, 7));
}

TEST(ParseLayersTest, RefusesWhatIsNoList) {
  for (const char* text :
       {"", ",", "7,", "a", "7-", "-7", "9-7", "7--9", "7 8", "+7", "1-99999999", "99999999999"}) {
    EXPECT_EQ(ParseLayers(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(ParseTokenIdsTest, SeparatorsOfAllKinds) {
  EXPECT_THAT(*ParseTokenIds("464 3797\n318"), ElementsAre(464, 3797, 318));
  EXPECT_THAT(*ParseTokenIds(" [464, 3797,318]\r\n"), ElementsAre(464, 3797, 318));
  EXPECT_THAT(*ParseTokenIds(" \n"), IsEmpty());
}

TEST(ParseTokenIdsTest, NamesWhatIsNoTokenId) {
  EXPECT_THAT(std::string(ParseTokenIds("1 two 3").status().message()), HasSubstr("\"two\""));
  EXPECT_FALSE(ParseTokenIds("-1").ok());
  EXPECT_FALSE(ParseTokenIds("2147483648").ok());
}

TEST(TokenIdParserTest, PiecesCutWithinANumber) {
  TokenIdParser parser;
  EXPECT_THAT(*parser.Add("12 3"), ElementsAre(12));
  EXPECT_THAT(*parser.Add("45"), IsEmpty());
  EXPECT_THAT(*parser.Add("6,7"), ElementsAre(3456));
  EXPECT_THAT(*parser.Finish(), ElementsAre(7));
  EXPECT_THAT(*parser.Finish(), IsEmpty());
}

TEST(TokenIdParserTest, LongGarbageFailsBeforeItsEnd) {
  TokenIdParser parser;
  EXPECT_FALSE(parser.Add(std::string(1 << 20, 'x')).ok());
}

TEST(ParseTokenRangeTest, FirstAndCount) {
  const auto range = ParseTokenRange("100:20");
  ASSERT_TRUE(range.ok()) << range.status();
  EXPECT_EQ(range->first, 100);
  EXPECT_EQ(range->count, 20);
  for (const char* wrong : {"", "5", ":5", "5:", "5:0", "-1:5", "1:2:3", "a:b"}) {
    EXPECT_FALSE(ParseTokenRange(wrong).ok()) << wrong;
  }
}

}  // namespace
}  // namespace mtm::client
