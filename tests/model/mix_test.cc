// SPDX-License-Identifier: Apache-2.0
// METHOD 2, Rank and Mix, on numbers that a reader can check.
#include "server/model/mix.h"

#include <cmath>
#include <limits>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mtm {
namespace {

using testing::ElementsAre;
using testing::FloatNear;
using testing::IsEmpty;

constexpr float kTolerance = 1e-6f;

// d = 4, so that 1/sqrt(d) = 1/2. Three rows of a memory; their scores with the query are 2, 4 and 0 times TS
// / 2.
const std::vector<float> kQuery = {1, 2, 0, 0}, kOwnKey = {0, 1, 7, 7}, kOwnValue = {100, 0, 0, 8};
const std::vector<float> kKeys = {2, 0, 5, 0, 0, 2, 0, 5, 0, 0, 3, 3};
const std::vector<float> kValues = {1, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 4};

struct Mixed {
  Mix mix;
  std::vector<float> value;
};

Mixed MixOf(MemoryParameters parameters, const std::vector<int64_t>& found) {
  std::vector<float> keys, values;
  for (const int64_t row : found) {
    keys.insert(keys.end(), kKeys.begin() + row * 4, kKeys.begin() + (row + 1) * 4);
    values.insert(values.end(), kValues.begin() + row * 4, kValues.begin() + (row + 1) * 4);
  }
  Mixed result{.mix = {}, .value = std::vector<float>(4, -1)};
  result.mix = RankAndMix(parameters, {kQuery, kOwnKey, kOwnValue}, keys, values, result.value);
  return result;
}

auto Near(double value) { return FloatNear(static_cast<float>(value), kTolerance); }

// TS = ln 2: scores are powers of 2. Found rows 0 and 1 weigh 2^1 : 2^2.
TEST(MixTest, Type2MixesWhatWasFoundWithTheResidual) {
  const auto run =
      MixOf({.method = Method::kType2, .score_scale = std::log(2.0), .residual_fraction = 0}, {0, 1});
  EXPECT_THAT(run.mix.weights, ElementsAre(Near(1 / 3.0), Near(2 / 3.0)));
  EXPECT_EQ(run.mix.own_weight, 0);
  EXPECT_THAT(run.value, ElementsAre(Near(1 / 3.0), FloatNear(20 / 3.f, 1e-5f), 0, 0));

  const auto residual =
      MixOf({.method = Method::kType2, .score_scale = std::log(2.0), .residual_fraction = 0.25}, {0, 1});
  EXPECT_EQ(residual.mix.weights, run.mix.weights);
  EXPECT_THAT(residual.value, ElementsAre(FloatNear(0.25f + 25, 1e-5f), FloatNear(5, 1e-5f), 0, Near(2)));
}

// The own key's score is 2 times TS / 2: weights 2 : 2 : 4.
TEST(MixTest, Type1LetsTheOwnKeyCompeteAndKnowsNoResidual) {
  for (const double residual : {0.0, 0.33, 1.0}) {
    const auto run = MixOf(
        {.method = Method::kType1, .score_scale = std::log(2.0), .residual_fraction = residual}, {0, 1});
    EXPECT_THAT(run.mix.own_weight, Near(0.25));
    EXPECT_THAT(run.mix.weights, ElementsAre(Near(0.25), Near(0.5)));
    EXPECT_THAT(run.value, ElementsAre(FloatNear(25.25f, 1e-5f), Near(5), 0, Near(2)));
  }
}

TEST(MixTest, Type3HasBoth) {
  const auto run =
      MixOf({.method = Method::kType3, .score_scale = std::log(2.0), .residual_fraction = 0.5}, {0, 1});
  EXPECT_THAT(run.mix.own_weight, Near(0.25));
  EXPECT_THAT(run.mix.weights, ElementsAre(Near(0.25), Near(0.5)));
  EXPECT_THAT(run.value, ElementsAre(FloatNear(0.5f * 25.25f + 50, 1e-5f), Near(2.5), 0, Near(0.5 * 2 + 4)));
}

TEST(MixTest, ResidualOneGivesTheOwnValueBack) {
  for (const Method method : {Method::kType2, Method::kType3}) {
    EXPECT_EQ(MixOf({.method = method, .residual_fraction = 1}, {2, 1}).value, kOwnValue);
  }
}

TEST(MixTest, WeightsFollowTheOrderOfWhatWasFound) {
  const MemoryParameters parameters{.method = Method::kType2, .score_scale = std::log(2.0)};
  EXPECT_THAT(MixOf(parameters, {1, 2, 0}).mix.weights,
              ElementsAre(Near(4 / 7.0), Near(1 / 7.0), Near(2 / 7.0)));
}

TEST(MixTest, AScaleNearZeroWeighsEvenly) {
  const auto run =
      MixOf({.method = Method::kType3, .score_scale = 1e-300, .residual_fraction = 0}, {0, 1, 2});
  EXPECT_THAT(run.mix.own_weight, Near(0.25));
  EXPECT_THAT(run.mix.weights, ElementsAre(Near(0.25), Near(0.25), Near(0.25)));
}

TEST(MixTest, ALargeScalePicksTheBestWithoutOverflow) {
  for (const double scale : {1000.0, 1e30, 1e307, std::numeric_limits<double>::max()}) {
    const auto run =
        MixOf({.method = Method::kType2, .score_scale = scale, .residual_fraction = 0}, {0, 1, 2});
    EXPECT_THAT(run.mix.weights, ElementsAre(0, 1, 0)) << scale;
    EXPECT_THAT(run.value, ElementsAre(0, 10, 0, 0)) << scale;
  }
}

TEST(MixTest, EqualScoresStayEvenAtALargeScale) {
  const auto run = MixOf({.method = Method::kType2, .score_scale = 1000, .residual_fraction = 0}, {1, 1});
  EXPECT_THAT(run.mix.weights, ElementsAre(0.5f, 0.5f));
}

TEST(MixTest, ASingleNeighbourIsTheWholeMixInType2) {
  const auto run = MixOf({.method = Method::kType2, .score_scale = 1000, .residual_fraction = 0}, {2});
  EXPECT_THAT(run.mix.weights, ElementsAre(1));
  EXPECT_THAT(run.value, ElementsAre(0, 0, 0, 4));
}

TEST(MixTest, WeightsAreDifferencesOfScoresNotTheirSize) {
  // Scores of about 1e5: a float softmax would see no difference of 2^-7 or less.
  const std::vector<float> query = {1000, 0.001f}, own(2, 0.f), keys = {100, 1, 100, 2},
                           values = {1, 0, 0, 1};
  std::vector<float> mixed(2);
  const Mix mix =
      RankAndMix({.method = Method::kType2, .score_scale = std::sqrt(2.0), .residual_fraction = 0},
                 {query, own, own}, keys, values, mixed);
  const double second = 1 / (1 + std::exp(-double(0.001f)));
  EXPECT_THAT(mix.weights, ElementsAre(Near(1 - second), Near(second)));
  EXPECT_THAT(mixed, ElementsAre(Near(1 - second), Near(second)));
}

}  // namespace
}  // namespace mtm
