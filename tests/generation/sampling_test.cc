// SPDX-License-Identifier: Apache-2.0
#include "server/generation/sampling.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "server/generation/philox.h"

namespace mtm {
namespace {

using ::testing::ElementsAre;
using ::testing::Key;
using ::testing::UnorderedElementsAre;

const std::vector<float> kLogits = {0, 3, 1, 3, 2, -INFINITY};

std::map<int32_t, double> Frequencies(std::span<const float> logits, const SamplingParameters& parameters) {
  constexpr int kDraws = 20000;
  std::map<int32_t, double> frequencies;
  for (int i = 0; i < kDraws; ++i) {
    frequencies[SampleToken(logits, parameters, UniformDraw(7, 0, i))] += 1.0 / kDraws;
  }
  return frequencies;
}

TEST(SamplingTest, TemperatureZeroTakesTheLowestOfTheMostProbable) {
  EXPECT_EQ(SampleToken(kLogits, {.temperature = 0}, 0.99), 1);
}

TEST(SamplingTest, FollowsTheSoftmax) {
  const auto frequencies = Frequencies(kLogits, {.temperature = 1, .top_k = 0});
  const double sum = std::exp(0) + 2 * std::exp(3) + std::exp(1) + std::exp(2);
  EXPECT_NEAR(frequencies.at(0), std::exp(0) / sum, 0.01);
  EXPECT_NEAR(frequencies.at(1), std::exp(3) / sum, 0.01);
  EXPECT_NEAR(frequencies.at(4), std::exp(2) / sum, 0.01);
  EXPECT_EQ(frequencies.count(5), 0u);
}

TEST(SamplingTest, TemperatureDividesTheLogits) {
  const auto frequencies = Frequencies(kLogits, {.temperature = 0.5, .top_k = 0});
  const double sum = std::exp(0) + 2 * std::exp(6) + std::exp(2) + std::exp(4);
  EXPECT_NEAR(frequencies.at(4), std::exp(4) / sum, 0.01);
}

TEST(SamplingTest, TopKKeepsTiesWithTheKth) {
  EXPECT_THAT(Frequencies(kLogits, {.temperature = 1, .top_k = 1}), UnorderedElementsAre(Key(1), Key(3)));
  EXPECT_THAT(Frequencies(kLogits, {.temperature = 1, .top_k = 3}), UnorderedElementsAre(Key(1), Key(3), Key(4)));
}

TEST(SamplingTest, TopPKeepsTheFewestThatReachIt) {
  // Tokens 1 and 3 have 0.392 of the mass each.
  EXPECT_THAT(Frequencies(kLogits, {.temperature = 1, .top_k = 0, .top_p = 0.39}), UnorderedElementsAre(Key(1)));
  EXPECT_THAT(Frequencies(kLogits, {.temperature = 1, .top_k = 0, .top_p = 0.4}), UnorderedElementsAre(Key(1), Key(3)));
  EXPECT_THAT(Frequencies(kLogits, {.temperature = 1, .top_k = 0, .top_p = 1e-9}), UnorderedElementsAre(Key(1)));
}

TEST(SamplingTest, TheLargestDrawStaysWithinWhatIsPossible) {
  EXPECT_EQ(SampleToken(kLogits, {.temperature = 1, .top_k = 0}, std::nextafter(1.0, 0.0)), 4);
}

TEST(SamplingTest, TinyTemperatureDoesNotOverflow) {
  EXPECT_THAT(Frequencies(kLogits, {.temperature = 1e-300, .top_k = 0}), UnorderedElementsAre(Key(1), Key(3)));
}

TEST(SamplingTest, DescribesUnderTheRawLogits) {
  const TokenDetail detail = Describe(kLogits, 4, 3);
  const double log_sum = std::log(std::exp(0) + 2 * std::exp(3) + std::exp(1) + std::exp(2));
  EXPECT_EQ(detail.chosen.id, 4);
  EXPECT_NEAR(detail.chosen.logprob, 2 - log_sum, 1e-12);
  ASSERT_EQ(detail.top.size(), 3u);
  EXPECT_THAT((std::vector{detail.top[0].id, detail.top[1].id, detail.top[2].id}), ElementsAre(1, 3, 4));
  EXPECT_NEAR(detail.top[0].logprob, 3 - log_sum, 1e-12);
  EXPECT_EQ(Describe(kLogits, 0, 100).top.size(), kLogits.size());
}

}  // namespace
}  // namespace mtm
