// SPDX-License-Identifier: Apache-2.0
// What the forward pass promises beyond METHOD's numbers: bit-equality, rows saved, traces, copies.
#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/model/model_fixture.h"

namespace mtm {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr Mode kModes[] = {Mode::kExact, Mode::kCached};

class ForwardTest : public testing::Test {
 protected:
  ForwardTest() : a_(memories_.Make(Text(30))), b_(memories_.Make(Text(9))) {}

  Tokens Text(int n) { return RandomTokens(random_, n, *model_); }

  // [steps][vocab]: the prompt, then a token a step.
  std::vector<Logits> RunAll(const SequenceOptions& options, const Tokens& prompt, const Tokens& rest) {
    Sequence sequence(*model_, options);
    std::vector<Logits> logits = {Feed(*model_, sequence, prompt)};
    for (const int32_t token : rest) logits.push_back(Feed(*model_, sequence, {token}));
    return logits;
  }

  std::mt19937_64 random_{7};
  const std::unique_ptr<Model> model_ = LoadTiny();
  TestMemories memories_{*model_};
  const std::shared_ptr<const Memory> a_, b_;
};

TEST_F(ForwardTest, NothingSelectedIsPlainBitForBit) {
  const Tokens prompt = Text(11), rest = Text(8);
  const auto plain = RunAll({.capacity = 48}, prompt, rest);
  for (const Mode mode : kModes) {
    for (const Method method : {Method::kType1, Method::kType2, Method::kType3}) {
      const SequenceOptions options{
          .mode = mode,
          .uses = {{a_, {1, 2, 4}, {.method = method, .memory_fraction = 0, .bookkeeping_fraction = 1}}},
          .capacity = 48,
          .trace = true};
      EXPECT_EQ(RunAll(options, prompt, rest), plain);
    }
  }
}

TEST_F(ForwardTest, AMemoryChangesTheLogits) {
  const Tokens prompt = Text(11);
  EXPECT_NE(RunAll({.uses = {{a_, {3}, {}}}, .capacity = 48}, prompt, {}),
            RunAll({.capacity = 48}, prompt, {}));
}

TEST_F(ForwardTest, TheFirstTokenIsTheSameInBothModesBitForBit) {
  for (int i = 0; i < 30; ++i) {
    const auto uses = RandomUses(random_, {a_, b_}, 4);
    const Tokens prompt = Text(1 + static_cast<int>(random_() % 47));
    EXPECT_EQ(RunAll({.mode = Mode::kExact, .uses = uses, .capacity = 48}, prompt, {}),
              RunAll({.mode = Mode::kCached, .uses = uses, .capacity = 48}, prompt, {}))
        << Describe(uses);
  }
}

TEST_F(ForwardTest, TracingChangesNoBit) {
  for (const Mode mode : kModes) {
    const auto uses = RandomUses(random_, {a_, b_}, 4);
    const Tokens prompt = Text(20), rest = Text(10);
    EXPECT_EQ(RunAll({.mode = mode, .uses = uses, .capacity = 48, .trace = true}, prompt, rest),
              RunAll({.mode = mode, .uses = uses, .capacity = 48}, prompt, rest))
        << Describe(uses);
  }
}

TEST_F(ForwardTest, TwoMemoriesWorkOnTheirOwnLayers) {
  const MemoryParameters one{.k = 2}, other{.method = Method::kType2, .k = 20, .memory_fraction = 10};
  Sequence sequence(
      *model_,
      {.mode = Mode::kExact, .uses = {{a_, {2, 4}, one}, {b_, {3}, other}}, .capacity = 48, .trace = true});
  Feed(*model_, sequence, Text(20));
  std::map<int, int> entries;
  for (const TraceEntry& entry : sequence.trace()) {
    ++entries[entry.layer];
    EXPECT_EQ(entry.use, entry.layer == 3 ? 1 : 0);
    EXPECT_EQ(entry.neighbours.size(), entry.layer == 3 ? 9u : 2u) << "all of a memory shorter than k";
    EXPECT_EQ(entry.own_weight > 0, entry.layer != 3);
  }
  EXPECT_THAT(entries, ElementsAre(testing::Key(2), testing::Key(3), testing::Key(4)));
  EXPECT_EQ(sequence.tokens_heads_total(), 3 * 4 * 20);

  // Layers of one use, split in two of the same parameters, are the same computation.
  const Tokens prompt = Text(15), rest = Text(6);
  for (const Mode mode : kModes) {
    EXPECT_EQ(RunAll({.mode = mode, .uses = {{a_, {2, 3}, one}}, .capacity = 48}, prompt, rest),
              RunAll({.mode = mode, .uses = {{a_, {3}, one}, {a_, {2}, one}}, .capacity = 48}, prompt, rest));
  }
}

// Rows of layers 1..4; memories on 2 and 3.
TEST_F(ForwardTest, OnlyChangedRowsAreRun) {
  for (const Mode mode : kModes) {
    const MemoryUse use{a_, {2, 3}, {.memory_fraction = 1.5}};
    Sequence sequence(*model_, {.mode = mode, .uses = {use}, .capacity = 48});
    Feed(*model_, sequence, Text(10));
    EXPECT_THAT(sequence.rows_computed(), ElementsAre(10, 10, 10, 1));
    bool saved = false, recomputed = false;
    for (int length = 11; length <= 40; ++length) {
      Feed(*model_, sequence, Text(1));
      const auto rows = sequence.rows_computed();
      EXPECT_EQ(rows[0], 1) << "below the first active layer";
      EXPECT_LE(rows[1], rows[2]) << "a changed row changes all later ones above";
      EXPECT_LE(rows[2], length);
      EXPECT_EQ(rows[3], 1) << "the last layer";
      if (mode == Mode::kCached) {
        EXPECT_THAT(rows, Each(1));
      }
      saved |= rows[1] < length;
      recomputed |= rows[1] > 1;
    }
    EXPECT_TRUE(saved);
    EXPECT_EQ(recomputed, mode == Mode::kExact);
  }
}

TEST_F(ForwardTest, AnUnchangedSelectionCostsOneRow) {
  // Bookkeeping always, nothing else ever: V' of position 0 never changes.
  const MemoryUse use{a_, {1, 2, 3, 4}, {.memory_fraction = 0, .bookkeeping_fraction = 0}};
  Sequence sequence(*model_, {.mode = Mode::kExact, .uses = {use}, .capacity = 48});
  Feed(*model_, sequence, Text(10));
  for (int i = 0; i < 20; ++i) {
    Feed(*model_, sequence, Text(1));
    EXPECT_THAT(sequence.rows_computed(), Each(1));
    EXPECT_EQ(sequence.tokens_heads_changed(), 4 * 4);
  }
}

TEST_F(ForwardTest, PlainStepsRunOneRow) {
  for (const Mode mode : kModes) {
    Sequence sequence(*model_, {.mode = mode, .capacity = 48});
    Feed(*model_, sequence, Text(10));
    EXPECT_THAT(sequence.rows_computed(), ElementsAre(10, 10, 10, 1));
    Feed(*model_, sequence, Text(1));
    EXPECT_THAT(sequence.rows_computed(), Each(1));
    EXPECT_EQ(sequence.tokens_heads_total(), 0);
    EXPECT_THAT(sequence.trace(), IsEmpty());
  }
}

TEST_F(ForwardTest, PastTheContextEveryRowIsRun) {
  Sequence sequence(*model_, {.mode = Mode::kExact, .uses = {{a_, {3}, {}}}, .capacity = 12});
  const Tokens tokens = Text(20);
  Feed(*model_, sequence, {tokens.begin(), tokens.begin() + 12});
  Feed(*model_, sequence, {tokens.begin() + 12, tokens.end()});
  EXPECT_EQ(sequence.length(), 12);
  EXPECT_TRUE(std::ranges::equal(sequence.tokens(), std::span(tokens).last(12)));
  EXPECT_THAT(sequence.rows_computed(), ElementsAre(12, 12, 12, 1));
}

TEST_F(ForwardTest, TraceEntriesAreOrderedAndTheirWeightsSumToOne) {
  for (const Mode mode : kModes) {
    for (const Method method : {Method::kType1, Method::kType2, Method::kType3}) {
      const MemoryParameters parameters{
          .method = method, .k = 4, .bookkeeping_fraction = 0.05, .score_scale = 1};
      Sequence sequence(*model_,
                        {.mode = mode, .uses = {{a_, {2, 3, 4}, parameters}}, .capacity = 48, .trace = true});
      Tokens pending = Text(12);
      for (int step = 0; step < 6; ++step) {
        Feed(*model_, sequence, pending);
        pending = Text(1);
        const auto& trace = sequence.trace();
        ASSERT_EQ(std::ssize(trace), sequence.tokens_heads_changed());
        std::vector<std::array<int, 3>> places;
        for (const TraceEntry& entry : trace) {
          places.push_back({entry.layer, entry.head, entry.position});
          const double sum =
              std::accumulate(entry.weights.begin(), entry.weights.end(), double(entry.own_weight));
          EXPECT_NEAR(sum, 1, 1e-6);
          EXPECT_EQ(entry.own_weight == 0, method == Method::kType2);
          EXPECT_EQ(entry.weights.size(), 4u);
          EXPECT_TRUE(std::ranges::is_sorted(entry.neighbours, {}, &Neighbour::distance));
          const double threshold = 1 / (parameters.memory_fraction * sequence.length());
          EXPECT_GE(entry.attention, threshold);
          if (entry.position == 0) {
            EXPECT_GT(entry.attention, parameters.bookkeeping_fraction);
          }
        }
        EXPECT_TRUE(std::ranges::is_sorted(places));
        EXPECT_EQ(std::ranges::adjacent_find(places), places.end());
      }
    }
  }
}

TEST_F(ForwardTest, AStepThatWantsNoLogitsLeavesTheSameKeys) {
  const Tokens tokens = Text(9);
  Sequence with(*model_, {.capacity = 9}), without(*model_, {.capacity = 9, .logits = false});
  Feed(*model_, with, tokens);
  EXPECT_THAT(Feed(*model_, without, tokens), IsEmpty());
  std::vector<float> keys[2], values[2];
  for (int i = 0; i < 2; ++i) {
    keys[i].resize(7 * 8), values[i].resize(7 * 8);
    ASSERT_TRUE((i == 0 ? with : without).CopyKeysValues(4, 3, 2, keys[i], values[i]).ok());
  }
  EXPECT_EQ(keys[0], keys[1]);
  EXPECT_EQ(values[0], values[1]);
}

// Halves have 11 bits. What is selected is the same at any precision.
TEST_F(ForwardTest, ACacheInHalvesIsNearOneInFloats) {
  const MemoryUse use{a_, {2, 3}, {.memory_fraction = 0, .bookkeeping_fraction = 0}};
  const Tokens prompt = Text(20), rest = Text(10);
  for (const Mode mode : kModes) {
    for (const auto& uses : {std::vector<MemoryUse>{}, std::vector<MemoryUse>{use}}) {
      SequenceOptions options{.mode = mode, .uses = uses, .capacity = 48};
      const int64_t bytes = CacheBytes(model_->config(), options);
      const auto floats = RunAll(options, prompt, rest);
      options.cache = DataType::kF16;
      EXPECT_LT(CacheBytes(model_->config(), options), 0.75 * static_cast<double>(bytes));
      const auto halves = RunAll(options, prompt, rest);
      EXPECT_NE(halves, floats);
      for (size_t step = 0; step < floats.size(); ++step) {
        for (size_t i = 0; i < floats[step].size(); ++i)
          ASSERT_NEAR(halves[step][i], floats[step][i], 0.01) << step;
      }
    }
  }
}

// The smallest shapes that a configuration allows.
TEST_F(ForwardTest, TinyShapesRun) {
  for (const ModelConfig& config :
       {ModelConfig{.n_layer = 1, .n_head = 1, .n_embd = 1, .n_ctx = 1, .n_inner = 1, .vocab_size = 1},
        ModelConfig{.n_layer = 1, .n_head = 3, .n_embd = 9, .n_ctx = 2, .n_inner = 5, .vocab_size = 3},
        ModelConfig{.n_layer = 2, .n_head = 7, .n_embd = 7, .n_ctx = 5, .n_inner = 3, .vocab_size = 2}}) {
    const auto model = RandomModel(config);
    TestMemories memories(*model);
    std::vector<MemoryUse> uses;
    // A window holds the dropped token and one more.
    if (config.n_ctx > 1)
      uses = {{memories.Make({0, 1}), AllLayers(*model), {.k = 9, .bookkeeping_fraction = 0}}};
    Sequence sequence(*model, {.mode = Mode::kExact, .uses = uses, .capacity = config.n_ctx});
    for (int i = 0; i < 8; ++i) {
      const Logits logits = Feed(*model, sequence, {0});
      EXPECT_EQ(std::ssize(logits), config.vocab_size);
      EXPECT_THAT(logits, Each(testing::Truly([](float x) { return std::isfinite(x); })));
      EXPECT_EQ(sequence.length(), std::min(i + 1, config.n_ctx));
      if (!uses.empty()) {
        EXPECT_GT(sequence.tokens_heads_changed(), 0);
        EXPECT_GT(sequence.memory_time().count(), 0);
      }
    }
  }
}

}  // namespace
}  // namespace mtm
