// SPDX-License-Identifier: Apache-2.0
// METHOD 2, Select, on numbers that a reader can check.
#include "server/model/selection.h"

#include <cmath>
#include <limits>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mtm {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Rows = std::vector<std::vector<float>>;  // [n_head][n_positions]

constexpr float kInf = std::numeric_limits<float>::infinity();

std::vector<TokensHead> Select(const Rows& s, const MemoryParameters& parameters) {
  std::vector<float> flat;
  for (const auto& row : s) flat.insert(flat.end(), row.begin(), row.end());
  return SelectTokensHeads(flat, static_cast<int>(s.size()), static_cast<int>(s[0].size()), parameters);
}

MemoryParameters Fractions(double mf, double bf, double head_fraction = 1) {
  return {.memory_fraction = mf, .bookkeeping_fraction = bf, .head_fraction = head_fraction};
}

TokensHead At(int head, int position) { return {head, position}; }

// t = 4, MF = 2: the threshold is 1/8.
TEST(SelectionTest, APositionIsSelectedFromTheThresholdOn) {
  EXPECT_THAT(Select({{0.5, 0.125, 0.25, 0.125}}, Fractions(2, 0.9)),
              ElementsAre(At(0, 1), At(0, 2), At(0, 3)));
  const float below = std::nextafter(0.125f, 0.f), above = std::nextafter(0.125f, 1.f);
  EXPECT_THAT(Select({{0.75, below, above, 0}}, Fractions(2, 0.9)), ElementsAre(At(0, 2)));
}

TEST(SelectionTest, TheThresholdIsComparedInDoublePrecision) {
  // 1/(10/3 * 3) = 0.1 lies between two floats.
  const double mf = 10.0 / 3;
  ASSERT_GT(double(0.1f), 0.1);
  EXPECT_THAT(Select({{0.8, 0.1f, std::nextafter(0.1f, 0.f)}}, Fractions(mf, 0.9)), ElementsAre(At(0, 1)));
}

TEST(SelectionTest, BookkeepingIsSelectedAboveItsFractionOnly) {
  EXPECT_THAT(Select({{0.75, 0, 0, 0}}, Fractions(1, 0.75)), IsEmpty()) << "equal is not above";
  EXPECT_THAT(Select({{std::nextafter(0.75f, 1.f), 0, 0, 0}}, Fractions(1, 0.75)), ElementsAre(At(0, 0)));
}

TEST(SelectionTest, BookkeepingAlsoNeedsTheMemoryThreshold) {
  // t = 2, MF = 0.5: the threshold is 1; MF = 1: 1/2.
  EXPECT_THAT(Select({{0.75, 0.25}}, Fractions(0.5, 0.5)), IsEmpty());
  EXPECT_THAT(Select({{1, 0}}, Fractions(0.5, 0.5)), ElementsAre(At(0, 0)));
  EXPECT_THAT(Select({{0.75, 0.25}}, Fractions(1, 0.5)), ElementsAre(At(0, 0)));
  EXPECT_THAT(Select({{0.5, 0.5}}, Fractions(1, 0)), ElementsAre(At(0, 0), At(0, 1)));
}

TEST(SelectionTest, WithMemoryFractionZeroOnlyBookkeepingCanBe) {
  EXPECT_THAT(Select({{0.95, 0.05}, {0.5, 0.5}, {0.05, 0.95}}, Fractions(0, 0.9)), ElementsAre(At(0, 0)));
  EXPECT_THAT(Select({{0.95, 0.05}, {1e-30f, 1}}, Fractions(0, 0)), ElementsAre(At(0, 0), At(1, 0)));
}

TEST(SelectionTest, WithBookkeepingFractionOneBookkeepingNeverIs) {
  // A float softmax can exceed 1.
  EXPECT_THAT(Select({{1.0000001f, 0.5}, {2, 0}, {kInf, 0}}, Fractions(4, 1)), ElementsAre(At(0, 1)));
}

TEST(SelectionTest, MemoryFractionZeroAndBookkeepingFractionOneSelectNothing) {
  EXPECT_THAT(Select({{1, 1, 1}, {1.5, 0, 0}}, Fractions(0, 1)), IsEmpty());
}

TEST(SelectionTest, WhatUnderflowedToZeroIsNotSelected) {
  // An infinite MF·t makes the threshold 0.
  for (const double mf : {1e308, std::numeric_limits<double>::max()}) {
    EXPECT_THAT(Select({{0, 0, std::numeric_limits<float>::denorm_min(), 1}}, Fractions(mf, 0)),
                ElementsAre(At(0, 2), At(0, 3)));
  }
  EXPECT_THAT(Select({{0, 1}}, Fractions(0, 0)), IsEmpty());
}

TEST(SelectionTest, ATinyMemoryFractionSelectsNothingAndDoesNotOverflow) {
  for (const double mf : {1e-300, std::numeric_limits<double>::denorm_min()}) {
    EXPECT_THAT(Select({{1, 1}}, Fractions(mf, 0)), IsEmpty());
  }
}

TEST(SelectionTest, NotANumberIsNotSelected) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(Select({{nan, nan, 0.5}}, Fractions(5, 0)), ElementsAre(At(0, 2)));
  EXPECT_THAT(Select({{nan, nan}}, Fractions(0, 0)), IsEmpty());
}

TEST(SelectionTest, ALonePositionIsBookkeeping) {
  EXPECT_THAT(Select({{1}, {1}}, Fractions(5, 0.9)), ElementsAre(At(0, 0), At(1, 0)));
  EXPECT_THAT(Select({{1}, {1}}, Fractions(5, 1)), IsEmpty());
}

TEST(SelectionTest, TheOrderIsByHeadThenPosition) {
  EXPECT_THAT(Select({{0.1, 0.2, 0.7}, {0.95, 0.5, 0.6}}, Fractions(2, 0.9)),
              ElementsAre(At(0, 1), At(0, 2), At(1, 0), At(1, 1), At(1, 2)));
}

// H·t = 6
const Rows kSix = {{0.3f, 0.3f, 0.4f}, {0.2f, 0.45f, 0.35f}};

TEST(SelectionTest, AHeadFractionKeepsTheMostAttended) {
  EXPECT_THAT(Select(kSix, Fractions(9, 0, 0.5)), ElementsAre(At(0, 2), At(1, 1), At(1, 2)));
  EXPECT_THAT(Select(kSix, Fractions(9, 0, 1)), testing::SizeIs(6));
}

TEST(SelectionTest, AHeadFractionIsRoundedUp) {
  EXPECT_THAT(Select(kSix, Fractions(9, 0, 1e-9)), ElementsAre(At(1, 1))) << "at least one";
  EXPECT_THAT(Select(kSix, Fractions(9, 0, 0.16)), ElementsAre(At(1, 1))) << "ceil(0.96)";
  EXPECT_THAT(Select(kSix, Fractions(9, 0, 0.17)), ElementsAre(At(0, 2), At(1, 1))) << "ceil(1.02)";
  EXPECT_THAT(Select(kSix, Fractions(9, 0, 0.999)), testing::SizeIs(6)) << "ceil(5.994)";
}

TEST(SelectionTest, AHeadFractionIsRoundedOnce) {
  // 0.1 * 3 * 10 is above 3 in double precision, 0.1 * 30 is 3.
  const Rows even(3, std::vector<float>(10, 0.1f));
  EXPECT_THAT(Select(even, Fractions(9, 0, 0.1)), testing::SizeIs(3));
}

TEST(SelectionTest, AHeadFractionIsOfAllTokensHeadsNotOfTheSelected) {
  // 3 of 8 pass the threshold; half of 8 is 4.
  EXPECT_THAT(Select({{0, 0.5, 0.4, 0}, {0, 0.3, 0, 0}}, Fractions(1, 0, 0.5)), testing::SizeIs(3));
  EXPECT_THAT(Select({{0, 0.5, 0.4, 0}, {0, 0.3, 0, 0}}, Fractions(1, 0, 0.25)),
              ElementsAre(At(0, 1), At(0, 2)));
}

TEST(SelectionTest, TiesGoToTheLowerHeadThenTheLowerPosition) {
  const Rows even = {{0.25, 0.25, 0.25, 0.25}, {0.25, 0.25, 0.25, 0.25}};
  EXPECT_THAT(Select(even, Fractions(2, 0, 0.125)), ElementsAre(At(0, 0)));
  EXPECT_THAT(Select(even, Fractions(2, 0, 0.625)),
              ElementsAre(At(0, 0), At(0, 1), At(0, 2), At(0, 3), At(1, 0)));
  const Rows last_wins = {{0.25, 0.25, 0.25, 0.25}, {0.25, 0.25, 0.25, 0.26f}};
  EXPECT_THAT(Select(last_wins, Fractions(2, 0, 0.25)), ElementsAre(At(0, 0), At(1, 3)));
}

}  // namespace
}  // namespace mtm
