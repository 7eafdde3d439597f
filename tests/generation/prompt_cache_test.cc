// SPDX-License-Identifier: Apache-2.0
#include "server/generation/prompt_cache.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "server/model/sequence.h"
#include "tests/generation/fixture.h"

namespace mtm {
namespace {

using Ids = std::vector<int32_t>;

class PromptCacheTest : public GenerationTest {
 protected:
  PromptCacheTest() {
    for (int32_t i = 0; i < 40; ++i) text_.push_back(i);
  }

  // The first `n` tokens of the text, and then others.
  Ids Prompt(int n, const Ids& rest = {}) const {
    Ids ids(text_.begin(), text_.begin() + n);
    ids.insert(ids.end(), rest.begin(), rest.end());
    return ids;
  }
  SharedPrompt Of(const Ids& ids, const std::string& owner = "") const {
    const int n_layers = model_->config().n_layer;
    return {owner, ids, n_layers, PromptPrefix::BytesPerToken(model_->config(), n_layers, DataType::kF32)};
  }
  // Runs it as the engine does. How many tokens it took over.
  int Run(PromptCache& cache, const Ids& ids, const std::string& owner = "") {
    const PromptCache::Match found = cache.Find(Of(ids, owner));
    Sequence sequence(*model_, {.capacity = model_->config().n_ctx, .keep_prefix = true});
    sequence.Append(ids);
    if (found.prefix != nullptr) sequence.TakeOver(found.prefix, found.n_tokens);
    Sequence* const batch[] = {&sequence};
    EXPECT_TRUE(model_->Step(batch).ok());
    if (cache.IsWorthKeeping(Of(ids, owner), found.n_tokens)) {
      cache.Add(owner, PromptPrefix::Of(sequence, found.prefix, found.n_tokens).value());
    }
    return found.n_tokens;
  }
  static bool Gains(const PromptCache& cache, const SharedPrompt& waiting, const SharedPrompt& running) {
    return cache.GainsFrom(waiting, cache.CountKept(waiting), running);
  }
  // Of so many tokens' keys and values.
  int64_t Bytes(int n) const {
    return int64_t{n} * 2 * model_->config().n_layer * model_->config().n_embd * 4;
  }

  Ids text_;
};

TEST_F(PromptCacheTest, WhatAPromptHasInCommonIsFoundButItsLastToken) {
  PromptCache cache(Bytes(1000));
  EXPECT_EQ(Run(cache, Prompt(20)), 0);
  EXPECT_EQ(Run(cache, Prompt(20)), 19);
  EXPECT_EQ(Run(cache, Prompt(20, {100, 101})), 20);
  EXPECT_EQ(Run(cache, Prompt(17, {102, 103})), 17);
  EXPECT_EQ(Run(cache, Prompt(PromptCache::kMinTokens - 1, {104, 105})), 0);
}

TEST_F(PromptCacheTest, TheLongestIsFoundAndHeldOnce) {
  PromptCache cache(Bytes(1000));
  Run(cache, Prompt(20));
  EXPECT_EQ(Run(cache, Prompt(40)), 20);
  EXPECT_EQ(cache.bytes(), Bytes(40));
  EXPECT_EQ(Run(cache, Prompt(40, {100})), 40);
  EXPECT_EQ(Run(cache, Prompt(30, {100})), 30);
  EXPECT_EQ(cache.bytes(), Bytes(40)) << "a few tokens more are not worth it";
}

TEST_F(PromptCacheTest, OwnersAndLayersShareNothing) {
  PromptCache cache(Bytes(1000));
  Run(cache, Prompt(20), "a");
  const Ids ids = Prompt(20);
  EXPECT_EQ(cache.Find(Of(ids, "b")).prefix, nullptr);
  EXPECT_EQ(cache.Find({"a", ids, 2, 1}).prefix, nullptr);
  EXPECT_NE(cache.Find(Of(ids, "a")).prefix, nullptr);
}

TEST_F(PromptCacheTest, TheLeastRecentlyUsedGoFirstAndNobodyBeforeThoseThatInherit) {
  PromptCache cache(Bytes(80));
  const Ids other = Tokens(20, 3), third = Tokens(20, 4);
  Run(cache, Prompt(20));
  Run(cache, other);
  Run(cache, Prompt(40));  // inherits from the first
  EXPECT_EQ(cache.bytes(), Bytes(60));
  Run(cache, third);
  EXPECT_EQ(cache.bytes(), Bytes(80));
  Run(cache, Tokens(20, 5));
  EXPECT_EQ(cache.bytes(), Bytes(80));
  EXPECT_EQ(cache.Find(Of(other)).n_tokens, 0);
  EXPECT_EQ(cache.Find(Of(Prompt(40))).n_tokens, 39);
  Run(cache, Tokens(20, 6));
  Run(cache, Tokens(20, 7));
  Run(cache, Tokens(20, 8));
  EXPECT_EQ(cache.Find(Of(Prompt(40))).n_tokens, 20) << "the child is gone, its parent not yet";
}

TEST_F(PromptCacheTest, WhatIsLargerThanAllIsNotKept) {
  PromptCache cache(Bytes(30));
  Run(cache, Prompt(20));
  Run(cache, Tokens(31, 3));
  EXPECT_EQ(cache.bytes(), Bytes(20));
  EXPECT_FALSE(Gains(cache, Of(Tokens(32, 4)), Of(Tokens(31, 4)))) << "it will not be kept";
  PromptCache none(0);
  EXPECT_FALSE(none.IsWorthKeeping(Of(text_), 0));
}

TEST_F(PromptCacheTest, NoMoreThanSoManyAreKept) {
  PromptCache cache(Bytes(1000), 3);
  for (int i = 3; i < 8; ++i) Run(cache, Tokens(20, i));
  EXPECT_EQ(cache.bytes(), Bytes(3 * 20));
  EXPECT_EQ(cache.Find(Of(Tokens(20, 4))).n_tokens, 0);
  EXPECT_EQ(cache.Find(Of(Tokens(20, 5))).n_tokens, 19);
}

TEST_F(PromptCacheTest, WhatDoesNotFitWithItsParentsDrivesNobodyOut) {
  PromptCache cache(Bytes(45));
  Run(cache, Prompt(20));
  Run(cache, Tokens(20, 3));
  Ids longer = text_;
  longer.insert(longer.end(), {100, 101, 102, 103, 104, 105});
  EXPECT_EQ(Run(cache, longer), 20);
  EXPECT_EQ(cache.bytes(), Bytes(40));
}

// It went while the prompt was run.
TEST_F(PromptCacheTest, WhoseParentIsGoneIsNotKept) {
  PromptCache cache(Bytes(40));
  Run(cache, Prompt(20));
  const Ids ids = Prompt(40);
  const PromptCache::Match found = cache.Find(Of(ids));
  Run(cache, Tokens(30, 3));
  EXPECT_EQ(cache.bytes(), Bytes(30));
  Sequence sequence(*model_, {.capacity = 48, .keep_prefix = true});
  sequence.Append(ids);
  sequence.TakeOver(found.prefix, found.n_tokens);
  Sequence* const batch[] = {&sequence};
  ASSERT_TRUE(model_->Step(batch).ok());
  cache.Add("", PromptPrefix::Of(sequence, found.prefix, found.n_tokens).value());
  EXPECT_EQ(cache.bytes(), Bytes(30));
  EXPECT_EQ(cache.Find(Of(ids)).prefix, nullptr);
}

TEST_F(PromptCacheTest, WhoWouldRunTheSameRowsGainsFromWaiting) {
  PromptCache cache(Bytes(1000));
  const Ids running = Prompt(30), waiting = Prompt(30, {100}), other = Tokens(30, 3);
  EXPECT_TRUE(Gains(cache, Of(waiting), Of(running)));
  EXPECT_FALSE(Gains(cache, Of(other), Of(running)));
  EXPECT_FALSE(Gains(cache, Of(waiting, "a"), Of(running, "b")));
  Run(cache, running);
  EXPECT_FALSE(Gains(cache, Of(waiting), Of(running))) << "it is kept already";
}

}  // namespace
}  // namespace mtm
