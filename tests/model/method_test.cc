// SPDX-License-Identifier: Apache-2.0
// Both modes against METHOD computed the slow way, under random settings of everything. Golden cases fix
// single numbers; here every step of the incremental computation meets a full one.
#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/model/model_fixture.h"
#include "tests/model/random_seed.h"
#include "tests/model/reference_model.h"

namespace mtm {
namespace {

// A decision this close may fall either way in float32; what follows it is then another computation.
constexpr double kCloseDecision = 3e-5;

template <typename Expected>
double MaxDifference(const Logits& logits, const Expected& expected) {
  double max = logits.size() == expected.size() ? 0 : INFINITY;
  for (size_t i = 0; i < std::min(logits.size(), expected.size()); ++i) {
    const double difference = std::abs(double(logits[i]) - expected[i]);
    if (!(difference <= max)) max = difference;
  }
  return max;
}

// TS = 1000 multiplies what rounding has done to a score by as much before the softmax.
double Allowance(const std::vector<MemoryUse>& uses) {
  const auto is_steep = [](const MemoryUse& use) { return use.parameters.score_scale > 100; };
  return std::ranges::any_of(uses, is_steep) ? 10 : 1;
}

Tokens LastOf(const Tokens& tokens, int n) {
  return {tokens.end() - std::min<ptrdiff_t>(n, std::ssize(tokens)), tokens.end()};
}

class MethodTest : public testing::TestWithParam<std::string> {
 protected:
  struct Case {
    SequenceOptions options;
    Tokens prompt;
    int n_steps;
  };

  void SetUp() override {
    MTM_SKIP_WITHOUT_DEVICE(GetParam());
    model_ = LoadTiny(WeightType::kF32, GetParam());
    // One longer than the context, one shorter than most k.
    std::mt19937_64 random(1);
    memories_.emplace(*model_);
    for (const int n : {30, 70, 2}) pool_.push_back(memories_->Make(RandomTokens(random, n, *model_)));
  }

  Case RandomCase(std::mt19937_64& random, Mode mode) {
    std::vector<std::shared_ptr<const Memory>> memories;
    for (size_t n = 1 + random() % 2; n > 0; --n) memories.push_back(pool_[random() % pool_.size()]);
    Case result;
    result.n_steps = 1 + static_cast<int>(random() % 10);
    const int n_ctx = model_->config().n_ctx;
    // Exact mode goes past its capacity now and then.
    result.options = {
        .mode = mode,
        .uses = RandomUses(random, memories, model_->config().n_layer),
        .capacity = mode == Mode::kExact && random() % 3 == 0 ? 4 + static_cast<int>(random() % 8) : n_ctx};
    const int longest = mode == Mode::kExact ? result.options.capacity : n_ctx - result.n_steps;
    result.prompt =
        RandomTokens(random, 1 + static_cast<int>(random() % static_cast<unsigned>(longest)), *model_);
    return result;
  }

  // Runs a case; false: it was ended by a close decision.
  bool Run(const Case& c, std::mt19937_64& random, bool compare_fresh) {
    Sequence sequence(*model_, c.options);
    ReferenceRun reference(reference_, c.options.mode, c.options.uses);
    Tokens tokens = c.prompt, pending = c.prompt;
    for (int step = 0; step < c.n_steps; ++step) {
      const Logits logits = Feed(*model_, sequence, pending);
      const Tokens context = LastOf(tokens, c.options.capacity);
      const auto expected = reference.Step(context);
      if (reference.margin() < kCloseDecision) return false;
      const double difference = MaxDifference(logits, expected);
      EXPECT_LE(difference, 1e-3 * Allowance(c.options.uses)) << "step " << step;
      max_difference_ = std::max(max_difference_, difference);
      EXPECT_EQ(sequence.tokens_heads_changed(), reference.n_selected()) << "step " << step;
      if (compare_fresh) {
        Sequence fresh(*model_, c.options);
        const double from_fresh = MaxDifference(logits, Feed(*model_, fresh, context));
        EXPECT_LE(from_fresh, 1e-4 * Allowance(c.options.uses)) << "step " << step;
        max_from_fresh_ = std::max(max_from_fresh_, from_fresh);
      }
      if (HasFailure()) return true;
      // Exact mode takes several tokens at once too.
      pending = RandomTokens(random, c.options.mode == Mode::kExact && random() % 4 == 0 ? 3 : 1, *model_);
      tokens.insert(tokens.end(), pending.begin(), pending.end());
    }
    return true;
  }

  void RunCases(Mode mode, int n_cases, uint64_t seed) {
    int n_ended = 0;
    for (int i = 0; i < n_cases; ++i) {
      std::mt19937_64 random(seed + static_cast<uint64_t>(i));
      const Case c = RandomCase(random, mode);
      SCOPED_TRACE(absl::StrCat("case ", i, ", prompt of ", c.prompt.size(), ", capacity ",
                                c.options.capacity, " ", Describe(c.options.uses)));
      n_ended += !Run(c, random, mode == Mode::kExact);
      if (HasFailure()) return;
    }
    std::cout << n_cases << " cases, " << n_ended << " ended early; logits off by " << max_difference_
              << " at most, from a fresh pass by " << max_from_fresh_ << "\n";
    EXPECT_LE(n_ended, n_cases / 4);
  }

  std::unique_ptr<Model> model_;
  const ReferenceModel reference_{TinyFolder()};
  std::optional<TestMemories> memories_;
  std::vector<std::shared_ptr<const Memory>> pool_;
  double max_difference_ = 0, max_from_fresh_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Devices, MethodTest, testing::ValuesIn(TestDevices()), NameOfDevice);

TEST_P(MethodTest, ExactModeIsAFullPassAtEveryStep) { RunCases(Mode::kExact, 100, RandomSeed(1000)); }

TEST_P(MethodTest, CachedModeRunsOneRowInEveryLayer) { RunCases(Mode::kCached, 100, RandomSeed(2000)); }

// Modes, settings, prompts and lengths of their own.
TEST_P(MethodTest, SequencesOfOneBatchFollowItEach) {
  constexpr int kBatches = 12, kSequences = 5;
  struct Running {
    Running(const Case& of, const Model& model, const ReferenceModel& method)
        : c(of),
          sequence(model, c.options),
          reference(method, c.options.mode, c.options.uses),
          tokens(c.prompt),
          pending(c.prompt) {}
    Case c;
    Sequence sequence;
    ReferenceRun reference;
    Tokens tokens, pending;
    bool close = false;  // a decision was: no longer compared
  };
  const uint64_t seed = RandomSeed(4000);
  int n_close = 0;
  for (int i = 0; i < kBatches; ++i) {
    std::mt19937_64 random(seed + static_cast<uint64_t>(i));
    std::vector<std::unique_ptr<Running>> all;
    for (int j = 0; j < kSequences; ++j) {
      const Mode mode = random() % 2 == 0 ? Mode::kExact : Mode::kCached;
      all.push_back(std::make_unique<Running>(RandomCase(random, mode), *model_, reference_));
    }
    for (int step = 0; step < 10; ++step) {
      std::erase_if(all, [step](const auto& one) { return step >= one->c.n_steps; });
      if (all.empty()) break;
      std::vector<Sequence*> batch;
      for (const auto& one : all) {
        one->sequence.Append(one->pending);
        batch.push_back(&one->sequence);
      }
      ASSERT_TRUE(model_->Step(batch).ok());
      for (const auto& one : all) {
        const auto expected = one->reference.Step(LastOf(one->tokens, one->c.options.capacity));
        if (!one->close && one->reference.margin() < kCloseDecision) {
          one->close = true;
          ++n_close;
        }
        const Logits logits(one->sequence.logits().begin(), one->sequence.logits().end());
        if (!one->close) {
          EXPECT_LE(MaxDifference(logits, expected), 1e-3 * Allowance(one->c.options.uses))
              << "batch " << i << " step " << step << " " << Describe(one->c.options.uses);
        }
        one->pending = RandomTokens(random, 1, *model_);
        one->tokens.push_back(one->pending[0]);
      }
      if (HasFailure()) return;
    }
  }
  EXPECT_LE(n_close, kBatches * kSequences / 4);
}

TEST_P(MethodTest, AMemorysRowsAreThoseOfAPlainPass) {
  std::mt19937_64 random(3);
  const Tokens tokens = RandomTokens(random, 60, *model_);
  const auto memory = memories_->Make(tokens);
  // Windows of the dropped token and 47 more.
  Sequence first(*model_, {.capacity = 48}), second(*model_, {.capacity = 48});
  Tokens window = {0};
  window.insert(window.end(), tokens.begin(), tokens.begin() + 47);
  Feed(*model_, first, window);
  window = {0};
  window.insert(window.end(), tokens.begin() + 47, tokens.end());
  Feed(*model_, second, window);
  for (const int layer : AllLayers(*model_)) {
    for (int head = 0; head < 4; ++head) {
      std::vector<float> keys(60 * 8), values(60 * 8);
      const std::span<float> k(keys), v(values);
      ASSERT_TRUE(first.CopyKeysValues(layer, head, 1, k.first(47 * 8), v.first(47 * 8)).ok());
      ASSERT_TRUE(second.CopyKeysValues(layer, head, 1, k.subspan(47 * 8), v.subspan(47 * 8)).ok());
      std::vector<float> stored_keys(60 * 8), stored_values(60 * 8);
      memory->CopyRows(layer, head, 0, stored_keys, stored_values);
      EXPECT_EQ(stored_keys, keys) << layer << " " << head;
      EXPECT_EQ(stored_values, values) << layer << " " << head;
    }
  }
}

}  // namespace
}  // namespace mtm
