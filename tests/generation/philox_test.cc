// SPDX-License-Identifier: Apache-2.0
#include "server/generation/philox.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mtm {
namespace {

using ::testing::ElementsAre;

// The known answers of Random123's kat_vectors.
TEST(PhiloxTest, GivesTheKnownAnswers) {
  EXPECT_THAT(Philox4x32({0, 0, 0, 0}, {0, 0}), ElementsAre(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8));
  EXPECT_THAT(Philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}),
              ElementsAre(0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd));
  EXPECT_THAT(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
              ElementsAre(0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1));
}

TEST(PhiloxTest, DrawsAreEvenOverTheUnitInterval) {
  constexpr int kDraws = 20000;
  double sum = 0, sum_of_squares = 0;
  for (int step = 0; step < kDraws; ++step) {
    const double draw = UniformDraw(1337, 0, step);
    ASSERT_GE(draw, 0);
    ASSERT_LT(draw, 1);
    sum += draw;
    sum_of_squares += draw * draw;
  }
  EXPECT_NEAR(sum / kDraws, 1.0 / 2, 0.01);
  EXPECT_NEAR(sum_of_squares / kDraws, 1.0 / 3, 0.01);
}

TEST(PhiloxTest, SeedSampleAndStepEachGiveAnotherDraw) {
  const double draw = UniformDraw(1, 2, 3);
  EXPECT_EQ(draw, UniformDraw(1, 2, 3));
  EXPECT_NE(draw, UniformDraw(2, 2, 3));
  EXPECT_NE(draw, UniformDraw(1 + (uint64_t{1} << 32), 2, 3));
  EXPECT_NE(draw, UniformDraw(1, 3, 3));
  EXPECT_NE(draw, UniformDraw(1, 2, 4));
}

}  // namespace
}  // namespace mtm
