// SPDX-License-Identifier: Apache-2.0
#include "server/generation/stop_filter.h"

#include <gtest/gtest.h>

namespace mtm {
namespace {

TEST(StopFilterTest, PassesEverythingWhereThereIsNothingToStopAt) {
  StopFilter filter({});
  EXPECT_EQ(filter.Append("any text"), "any text");
  EXPECT_EQ(filter.Finish(), "");
  EXPECT_FALSE(filter.stopped());
}

TEST(StopFilterTest, EndsBeforeAStopStringWithinOnePiece) {
  StopFilter filter({"END"});
  EXPECT_EQ(filter.Append("one END two"), "one ");
  EXPECT_TRUE(filter.stopped());
  EXPECT_EQ(filter.Append("three"), "");
  EXPECT_EQ(filter.Finish(), "");
}

TEST(StopFilterTest, HoldsBackTheBeginningOfAStopString) {
  StopFilter filter({"END"});
  EXPECT_EQ(filter.Append("one E"), "one ");
  EXPECT_EQ(filter.Append("N"), "");
  EXPECT_EQ(filter.Append("D two"), "");
  EXPECT_TRUE(filter.stopped());
}

TEST(StopFilterTest, GivesBackWhatWasNoStopStringAfterAll) {
  StopFilter filter({"END"});
  EXPECT_EQ(filter.Append("EN"), "");
  EXPECT_EQ(filter.Append("Es"), "ENEs");
  EXPECT_EQ(filter.Append(" EN"), " ");
  EXPECT_EQ(filter.Finish(), "EN");
}

TEST(StopFilterTest, FindsOneThatBeginsWithinAnother) {
  StopFilter filter({"aab"});
  EXPECT_EQ(filter.Append("aa"), "");
  EXPECT_EQ(filter.Append("ab"), "a");
  EXPECT_TRUE(filter.stopped());
}

TEST(StopFilterTest, TheEarliestOfSeveralWins) {
  StopFilter filter({"later", "soon"});
  EXPECT_EQ(filter.Append("x soon later"), "x ");
}

}  // namespace
}  // namespace mtm
