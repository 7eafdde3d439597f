// SPDX-License-Identifier: Apache-2.0
#include "server/model/prompt_prefix.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/model/model_fixture.h"
#include "tests/model/random_seed.h"

namespace mtm {
namespace {

class PromptPrefixTest : public testing::Test {
 protected:
  Tokens Random(int n) { return RandomTokens(random_, n, *model_); }

  static Tokens Joined(Tokens a, const Tokens& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  }

  SequenceOptions RandomOptions() {
    SequenceOptions options{.mode = random_() % 2 == 0 ? Mode::kExact : Mode::kCached,
                            .capacity = 48,
                            .cache = RandomCache(random_)};
    if (random_() % 4 != 0) options.uses = RandomUses(random_, memories_, model_->config().n_layer);
    return options;
  }

  // Runs `prompt` with what it takes over, and then some steps.
  std::vector<Logits> Run(SequenceOptions options, const Tokens& prompt, const std::vector<Tokens>& steps,
                          std::shared_ptr<const PromptPrefix> from = nullptr, int n = 0,
                          std::shared_ptr<const PromptPrefix>* kept = nullptr) {
    options.keep_prefix = kept != nullptr;
    Sequence sequence(*model_, options);
    if (from != nullptr) sequence.TakeOver(from, n);
    std::vector<Logits> logits = {Feed(*model_, sequence, prompt)};
    const int below = LayersBelowMemory(model_->config(), options.uses);
    for (int layer = 0; layer < below; ++layer) {
      const bool only_last = layer + 1 == model_->config().n_layer;
      EXPECT_EQ(sequence.rows_computed()[layer], only_last ? 1 : static_cast<int>(prompt.size()) - n);
    }
    if (kept != nullptr) *kept = PromptPrefix::Of(sequence, from, n).value();
    for (const Tokens& token : steps) logits.push_back(Feed(*model_, sequence, token));
    return logits;
  }

  std::unique_ptr<Model> model_ = LoadTiny();
  TestMemories stored_{*model_};
  std::mt19937_64 random_{RandomSeed(8)};
  std::vector<std::shared_ptr<const Memory>> memories_ = {stored_.Make(Random(25)), stored_.Make(Random(4))};
};

TEST_F(PromptPrefixTest, APromptThatTakesOverHasTheBitsOfOneThatIsRunAsAWhole) {
  constexpr WeightType kTypes[] = {WeightType::kF32, WeightType::kF16, WeightType::kInt8};
  for (int i = 0; i < 60; ++i) {
    if (i % 20 == 0) model_ = LoadTiny(kTypes[i / 20]);  // the memories fit it as well
    const SequenceOptions options = RandomOptions();
    SCOPED_TRACE(absl::StrCat("case ", i, " ", Describe(options.uses)));
    const Tokens shared = Random(2 + static_cast<int>(random_() % 18));
    const Tokens first = Joined(shared, Random(static_cast<int>(random_() % 5)));
    const Tokens second = Joined(shared, Random(1 + static_cast<int>(random_() % 9)));
    const std::vector<Tokens> steps = {Random(1), Random(1), Random(1)};
    const int n = 1 + static_cast<int>(random_() % shared.size());

    std::shared_ptr<const PromptPrefix> prefix, grandchild;
    EXPECT_EQ(Run(options, first, steps, nullptr, 0, &prefix), Run(options, first, steps));
    EXPECT_EQ(Run(options, second, steps, prefix, n, &grandchild), Run(options, second, steps));
    const Tokens third = Joined(second, Random(2));
    EXPECT_EQ(Run(options, third, steps, grandchild, static_cast<int>(second.size())),
              Run(options, third, steps));
    if (HasFailure()) return;
  }
}

TEST_F(PromptPrefixTest, OtherSettingsOfAMemoryInTheSameLayersMayTakeOver) {
  SequenceOptions options{.uses = {{memories_[0], {3, 4}, {.memory_fraction = 2}}}, .capacity = 48};
  const Tokens shared = Random(12);
  std::shared_ptr<const PromptPrefix> prefix;
  Run(options, shared, {}, nullptr, 0, &prefix);
  options.uses = {{memories_[1], {3}, {.method = Method::kType1, .memory_fraction = 9}}};
  const Tokens prompt = Joined(shared, Random(3));
  EXPECT_EQ(Run(options, prompt, {Random(1)}, prefix, 12).front(), Run(options, prompt, {}).front());
}

TEST_F(PromptPrefixTest, WhatItsParentHoldsItDoesNotHoldAgain) {
  const Tokens shared = Random(20);
  for (const DataType cache : {DataType::kF32, DataType::kF16}) {
    const SequenceOptions options{.capacity = 48, .cache = cache};
    std::shared_ptr<const PromptPrefix> parent, child;
    Run(options, shared, {}, nullptr, 0, &parent);
    Run(options, Joined(shared, Random(5)), {}, parent, 20, &child);
    EXPECT_EQ(child->bytes() * 4, parent->bytes());
    const int number = cache == DataType::kF16 ? 2 : 4;
    EXPECT_EQ(parent->bytes(), 20 * 2 * model_->config().n_layer * model_->config().n_embd * number);
  }
}

// In exact mode the context slides: every position moves.
TEST_F(PromptPrefixTest, PastTheContextNothingIsTakenOver) {
  SequenceOptions options{.mode = Mode::kExact, .capacity = 14};
  const Tokens shared = Random(12);
  std::shared_ptr<const PromptPrefix> prefix;
  Run(options, shared, {}, nullptr, 0, &prefix);
  const Tokens prompt = Joined(shared, Random(2));
  const std::vector<Tokens> steps = {Random(1), Random(1), Random(1)};
  EXPECT_EQ(Run(options, prompt, steps, prefix, 12), Run(options, prompt, steps));
}

}  // namespace
}  // namespace mtm
