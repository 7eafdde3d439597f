// SPDX-License-Identifier: Apache-2.0
// What a sequence gets does not depend on the others in its batch, nor on where it was forked.
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "server/model/threads.h"
#include "tests/model/model_fixture.h"
#include "tests/model/random_seed.h"

namespace mtm {
namespace {

// A sequence, when it joins the batch, and what is appended at each of its steps.
struct Script {
  SequenceOptions options;
  size_t start;
  std::vector<Tokens> steps;

  bool runs_at(size_t round) const { return round >= start && round < start + steps.size(); }
};

Script RandomScript(std::mt19937_64& random, const Model& model,
                    const std::vector<std::shared_ptr<const Memory>>& memories) {
  Script script;
  const int n_ctx = model.config().n_ctx;
  script.options.mode = random() % 2 == 0 ? Mode::kExact : Mode::kCached;
  if (random() % 4 != 0) script.options.uses = RandomUses(random, memories, model.config().n_layer);
  script.options.cache = RandomCache(random);
  script.start = random() % 4;
  const int n_steps = 1 + static_cast<int>(random() % 6);
  const int n_prompt = 1 + static_cast<int>(random() % static_cast<unsigned>(n_ctx - n_steps));
  // Exact mode may have to crop.
  script.options.capacity =
      script.options.mode == Mode::kExact ? n_prompt + static_cast<int>(random() % 3) : n_ctx;
  script.steps.push_back(RandomTokens(random, n_prompt, model));
  for (int i = 1; i < n_steps; ++i) script.steps.push_back(RandomTokens(random, 1, model));
  return script;
}

std::vector<Logits> RunAlone(const Model& model, const Script& script) {
  Sequence sequence(model, script.options);
  std::vector<Logits> logits;
  for (const Tokens& tokens : script.steps) logits.push_back(Feed(model, sequence, tokens));
  return logits;
}

// [script][step]
std::vector<std::vector<Logits>> RunTogether(const Model& model, const std::vector<Script>& scripts) {
  std::vector<std::unique_ptr<Sequence>> sequences;
  for (const Script& script : scripts) sequences.push_back(std::make_unique<Sequence>(model, script.options));
  std::vector<std::vector<Logits>> logits(scripts.size());
  for (size_t round = 0; round < 12; ++round) {
    std::vector<Sequence*> batch;
    for (size_t i = 0; i < scripts.size(); ++i) {
      if (!scripts[i].runs_at(round)) continue;
      sequences[i]->Append(scripts[i].steps[round - scripts[i].start]);
      batch.push_back(sequences[i].get());
    }
    if (batch.empty()) continue;
    EXPECT_TRUE(model.Step(batch).ok());
    for (size_t i = 0; i < scripts.size(); ++i) {
      if (!scripts[i].runs_at(round)) continue;
      logits[i].emplace_back(sequences[i]->logits().begin(), sequences[i]->logits().end());
    }
  }
  return logits;
}

void ExpectBatchInvariant(const Model& model, int n_batches, int n_sequences, uint64_t seed) {
  TestMemories memories(model);
  std::mt19937_64 random(seed);
  const std::vector<std::shared_ptr<const Memory>> pool = {memories.Make(RandomTokens(random, 25, model)),
                                                           memories.Make(RandomTokens(random, 4, model))};
  for (int n = 0; n < n_batches; ++n) {
    std::vector<Script> scripts;
    for (int i = 0; i < n_sequences; ++i) scripts.push_back(RandomScript(random, model, pool));
    const auto together = RunTogether(model, scripts);
    for (size_t i = 0; i < scripts.size(); ++i) {
      EXPECT_EQ(together[i], RunAlone(model, scripts[i]))
          << "batch " << n << ", sequence " << i << " " << Describe(scripts[i].options.uses);
      if (testing::Test::HasFailure()) return;
    }
  }
}

TEST(BatchTest, LogitsDoNotDependOnTheBatch) { ExpectBatchInvariant(*LoadTiny(), 20, 6, RandomSeed(1)); }

// Widths that are no multiple of any vector register, and many rows: the elementwise functions of LibTorch
// split their input by elements, not by rows.
TEST(BatchTest, LogitsDoNotDependOnTheBatchInOddWidths) {
  SetModelThreads(1);
  const uint64_t seed = RandomSeed(2);
  for (const auto& [n_embd, n_inner] : std::vector<std::pair<int, int>>{{15, 37}, {30, 70}, {33, 5}}) {
    SCOPED_TRACE(absl::StrCat("n_embd ", n_embd, " n_inner ", n_inner));
    ExpectBatchInvariant(*RandomModel({.n_layer = 3,
                                       .n_head = 3,
                                       .n_embd = n_embd,
                                       .n_ctx = 40,
                                       .n_inner = n_inner,
                                       .vocab_size = 101}),
                         5, 6, seed);
  }
}

// As many rows as threads make a difference for.
TEST(BatchTest, LogitsDoNotDependOnTheBatchWithSeveralThreads) {
  const uint64_t seed = RandomSeed(3);
  for (const int n_threads : {2, 3, 5, 7}) {
    SCOPED_TRACE(absl::StrCat(n_threads, " threads"));
    SetModelThreads(n_threads);
    ExpectBatchInvariant(
        *RandomModel(
            {.n_layer = 2, .n_head = 4, .n_embd = 128, .n_ctx = 160, .n_inner = 512, .vocab_size = 257}),
        2, 5, seed);
  }
  SetModelThreads(1);
}

// A row's bits are its own: also among other rows of its sequence.
TEST(RowsTest, APromptInPiecesHasTheBitsOfTheWhole) {
  std::mt19937_64 random(RandomSeed(6));
  for (const auto& model :
       {LoadTiny(),
        RandomModel(
            {.n_layer = 2, .n_head = 2, .n_embd = 128, .n_ctx = 200, .n_inner = 512, .vocab_size = 257})}) {
    const int n_ctx = model->config().n_ctx;
    for (int i = 0; i < 10; ++i) {
      const Tokens prompt = RandomTokens(random, 2 + static_cast<int>(random() % (n_ctx - 1)), *model);
      const auto cut = prompt.begin() + 1 + static_cast<int>(random() % (prompt.size() - 1));
      const SequenceOptions options{.capacity = n_ctx, .cache = RandomCache(random)};
      Sequence whole(*model, options), pieces(*model, options);
      Feed(*model, pieces, {prompt.begin(), cut});
      EXPECT_EQ(Feed(*model, pieces, {cut, prompt.end()}), Feed(*model, whole, prompt))
          << prompt.size() << " tokens, cut at " << cut - prompt.begin();
    }
  }
}

TEST(RowsTest, ExactModeHasTheBitsOfAFullPass) {
  const auto model = LoadTiny();
  TestMemories memories(*model);
  std::mt19937_64 random(RandomSeed(7));
  const std::vector<std::shared_ptr<const Memory>> pool = {memories.Make(RandomTokens(random, 25, *model)),
                                                           memories.Make(RandomTokens(random, 4, *model))};
  for (int i = 0; i < 20; ++i) {
    const SequenceOptions options{.mode = Mode::kExact,
                                  .uses = RandomUses(random, pool, 4),
                                  .capacity = 48,
                                  .cache = RandomCache(random)};
    Tokens tokens = RandomTokens(random, 5 + static_cast<int>(random() % 30), *model);
    Sequence steps(*model, options);
    Feed(*model, steps, tokens);
    for (int step = 0; step < 6; ++step) {
      const Tokens token = RandomTokens(random, 1, *model);
      tokens.push_back(token[0]);
      Sequence full(*model, options);
      EXPECT_EQ(Feed(*model, steps, token), Feed(*model, full, tokens))
          << "case " << i << " step " << step << " " << Describe(options.uses);
    }
  }
}

class ForkTest : public testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Devices, ForkTest, testing::ValuesIn(TestDevices()), NameOfDevice);

TEST_P(ForkTest, AForkGoesItsOwnWay) {
  MTM_SKIP_WITHOUT_DEVICE(GetParam());
  const auto model = LoadTiny(WeightType::kF32, GetParam());
  TestMemories memories(*model);
  std::mt19937_64 random(RandomSeed(4));
  const std::vector<std::shared_ptr<const Memory>> pool = {memories.Make(RandomTokens(random, 25, *model))};
  for (int i = 0; i < 20; ++i) {
    const Mode mode = i % 2 == 0 ? Mode::kExact : Mode::kCached;
    const SequenceOptions options{.mode = mode,
                                  .uses = RandomUses(random, pool, 4),
                                  .capacity = mode == Mode::kExact && i % 4 == 0 ? 14 : 48,
                                  .cache = GetParam() == "cpu" ? RandomCache(random) : DataType::kF32,
                                  .trace = i % 3 == 0};
    SCOPED_TRACE(absl::StrCat("case ", i, " ", Describe(options.uses)));
    const Tokens prompt = RandomTokens(random, 12, *model);
    const auto step = [&] { return RandomTokens(random, 1, *model); };
    const Tokens shared = step();
    std::vector<Tokens> left, right;
    for (int n = 0; n < 4; ++n) left.push_back(step()), right.push_back(step());

    // Steps of the two alternate, so that one would see the other's writes.
    auto origin = std::make_unique<Sequence>(*model, options);
    Feed(*model, *origin, prompt);
    Feed(*model, *origin, shared);
    const auto fork = origin->Fork();
    EXPECT_TRUE(std::ranges::equal(fork->logits(), origin->logits()));
    std::vector<Logits> from_origin, from_fork;
    for (int n = 0; n < 4; ++n) {
      from_origin.push_back(Feed(*model, *origin, left[n]));
      from_fork.push_back(Feed(*model, *fork, right[n]));
    }
    origin.reset();
    from_fork.push_back(Feed(*model, *fork, left[0]));

    const auto run = [&](std::vector<Tokens> steps) {
      steps.insert(steps.begin(), {prompt, shared});
      auto logits = RunAlone(*model, {options, 0, steps});
      logits.erase(logits.begin(), logits.begin() + 2);
      return logits;
    };
    EXPECT_EQ(from_origin, run(left));
    right.push_back(left[0]);
    EXPECT_EQ(from_fork, run(right));
  }
}

// Samples of one prompt: their steps share a batch, and what they share of their caches must not be written.
TEST(ForksTest, ForksStepTogether) {
  const auto model = LoadTiny();
  TestMemories memories(*model);
  std::mt19937_64 random(RandomSeed(5));
  const std::vector<std::shared_ptr<const Memory>> pool = {memories.Make(RandomTokens(random, 25, *model))};
  for (const Mode mode : {Mode::kExact, Mode::kCached}) {
    const SequenceOptions options{
        .mode = mode, .uses = {{pool[0], {2, 3}, {.memory_fraction = 2}}}, .capacity = 48};
    const Tokens prompt = RandomTokens(random, 9, *model);
    std::vector<std::unique_ptr<Sequence>> samples;
    samples.push_back(std::make_unique<Sequence>(*model, options));
    Feed(*model, *samples[0], prompt);
    samples.push_back(samples[0]->Fork());
    samples.push_back(samples[1]->Fork());
    std::vector<std::vector<Tokens>> steps(3, {prompt});
    std::vector<std::vector<Logits>> logits(3);
    for (int n = 0; n < 5; ++n) {
      std::vector<Sequence*> batch;
      for (size_t i = 0; i < 3; ++i) {
        steps[i].push_back(RandomTokens(random, 1, *model));
        samples[i]->Append(steps[i].back());
        batch.push_back(samples[i].get());
      }
      ASSERT_TRUE(model->Step(batch).ok());
      for (size_t i = 0; i < 3; ++i)
        logits[i].emplace_back(batch[i]->logits().begin(), batch[i]->logits().end());
    }
    for (size_t i = 0; i < 3; ++i) {
      auto alone = RunAlone(*model, {options, 0, steps[i]});
      alone.erase(alone.begin());
      EXPECT_EQ(logits[i], alone) << i;
    }
  }
}

TEST(ForksTest, AForkOutlivesItsOrigin) {
  const auto model = LoadTiny();
  const Tokens prompt = {5, 6, 7};
  auto origin = std::make_unique<Sequence>(*model, SequenceOptions{.capacity = 48});
  Feed(*model, *origin, prompt);
  const auto fork = origin->Fork();
  origin.reset();
  EXPECT_EQ(Feed(*model, *fork, {8}), RunAlone(*model, {{.capacity = 48}, 0, {prompt, {8}}})[1]);
}

TEST(ForksTest, PendingTokensGoWithTheFork) {
  const auto model = LoadTiny();
  Sequence origin(*model, {.capacity = 48});
  origin.Append(Tokens{1, 2, 3});
  const auto fork = origin.Fork();
  EXPECT_EQ(Feed(*model, *fork, {4}), Feed(*model, origin, {4}));
}

// A pass in pieces computes what one in a row does, whatever is stepped between them.
TEST(ForwardPassTest, PiecesDoNotChangeWhatIsComputed) {
  const auto model = Model::Load(MTM_TESTDATA "/golden/tiny").value();
  const uint64_t seed = RandomSeed(23);
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937_64 random(seed);
  const Tokens prompt = RandomTokens(random, 20, *model), other = RandomTokens(random, 3, *model);
  Sequence whole(*model, {.capacity = 20});
  const Logits expected = Feed(*model, whole, prompt);

  Sequence pieces(*model, {.capacity = 20}), between(*model, {.capacity = 20});
  pieces.Append(prompt);
  ForwardPass pass(*model, {&pieces});
  int n_pieces = 0;
  for (; !pass.done(); ++n_pieces) {
    ASSERT_TRUE(pass.Run(1).ok());
    if (n_pieces < 3) Feed(*model, between, other);
  }
  EXPECT_EQ(n_pieces, model->config().n_layer);
  EXPECT_EQ(Logits(pieces.logits().begin(), pieces.logits().end()), expected);
}

}  // namespace
}  // namespace mtm
