// SPDX-License-Identifier: Apache-2.0
// Decode steps as a GPU runs them, with the same operations from one step to the next, against the CPU's own.
#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "server/model/prompt_prefix.h"
#include "server/model/threads.h"
#include "tests/model/model_fixture.h"
#include "tests/model/random_seed.h"

namespace mtm {
namespace {

constexpr ModelConfig kConfig = {
    .n_layer = 3, .n_head = 2, .n_embd = 32, .n_ctx = 300, .n_inner = 64, .vocab_size = 101};
constexpr double kTolerance = 1e-5;  // the logits are some 0.1

std::unique_ptr<Model> RandomOn(const std::string& device) {
  SetModelThreads(1);
  auto model = Model::Random(kConfig, 5, device);
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

double MaxDifference(std::span<const float> a, std::span<const float> b) {
  double max = a.size() == b.size() && !a.empty() ? 0 : INFINITY;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const double difference = std::abs(double{a[i]} - b[i]);
    if (!(difference <= max)) max = difference;
  }
  return max;
}

class DeviceStepTest : public testing::TestWithParam<std::string> {
 protected:
  // The same sequence on both.
  struct Pair {
    std::unique_ptr<Sequence> device, cpu;
  };

  void SetUp() override {
    MTM_SKIP_WITHOUT_DEVICE(GetParam());
    device_ = RandomOn(GetParam());
    cpu_ = RandomOn("cpu");
    memories_ = std::make_unique<TestMemories>(*cpu_);
    for (const int n : {40, 7}) pool_.push_back(memories_->Make(RandomTokens(random_, n, *cpu_)));
  }

  // All tokens-heads are selected, or the first position's, so that no decision is a close one.
  MemoryUse Use(size_t memory, std::vector<int> layers, bool all, Method method = Method::kType3) const {
    return {
        pool_[memory],
        std::move(layers),
        {.method = method, .memory_fraction = all ? 1e9 : 0, .bookkeeping_fraction = 0, .score_scale = 1}};
  }

  Pair Begin(std::vector<MemoryUse> uses, int n_prompt, int capacity = kConfig.n_ctx) {
    const SequenceOptions options{.uses = std::move(uses), .capacity = capacity};
    Pair pair{std::make_unique<Sequence>(*device_, options), std::make_unique<Sequence>(*cpu_, options)};
    const Tokens prompt = RandomTokens(random_, n_prompt, *cpu_);
    Append(pair, prompt);
    Step({&pair});
    return pair;
  }

  static Pair Fork(const Pair& pair) { return {pair.device->Fork(), pair.cpu->Fork()}; }

  static void Append(Pair& pair, const Tokens& tokens) {
    pair.device->Append(tokens);
    pair.cpu->Append(tokens);
  }

  void Step(const std::vector<Pair*>& batch) {
    std::vector<Sequence*> on_device, on_cpu;
    for (Pair* pair : batch) {
      on_device.push_back(pair->device.get());
      on_cpu.push_back(pair->cpu.get());
    }
    ASSERT_TRUE(device_->Step(on_device).ok());
    ASSERT_TRUE(cpu_->Step(on_cpu).ok());
    for (const Pair* pair : batch) {
      ASSERT_LE(MaxDifference(pair->device->logits(), pair->cpu->logits()), kTolerance);
      EXPECT_EQ(pair->device->tokens_heads_changed(), pair->cpu->tokens_heads_changed());
      EXPECT_EQ(pair->device->tokens_heads_total(), pair->cpu->tokens_heads_total());
      EXPECT_TRUE(std::ranges::equal(pair->device->rows_computed(), pair->cpu->rows_computed()));
    }
  }

  // One token more for each, a few times.
  void Steps(int n, const std::vector<Pair*>& batch) {
    for (int i = 0; i < n && !HasFatalFailure(); ++i) {
      for (Pair* pair : batch) Append(*pair, RandomTokens(random_, 1, *cpu_));
      Step(batch);
    }
  }

  std::mt19937_64 random_{RandomSeed(31)};
  std::unique_ptr<Model> device_, cpu_;
  std::unique_ptr<TestMemories> memories_;
  std::vector<std::shared_ptr<const Memory>> pool_;
};

std::vector<std::string> OtherDevices() {
  std::vector<std::string> devices = TestDevices();
  std::erase(devices, "cpu");
  return devices;
}

INSTANTIATE_TEST_SUITE_P(Devices, DeviceStepTest, testing::ValuesIn(OtherDevices()), NameOfDevice);

TEST_P(DeviceStepTest, ABatchsStepsAreThoseOfTheCpu) {
  Pair plain = Begin({}, 9), all = Begin({Use(0, {1, 3}, true)}, 5), one = Begin({Use(1, {2}, false)}, 1),
       two = Begin({Use(0, {1}, true, Method::kType1), Use(1, {3}, true, Method::kType2)}, 30);
  Steps(8, {&plain, &all, &one, &two});
}

// What is masked begins and ends there, and the steps before are of another shape.
TEST_P(DeviceStepTest, ContextsPassAMultipleOf256AndFillTheirCaches) {
  Pair longer = Begin({Use(0, {2, 3}, true)}, 252), shorter = Begin({Use(1, {1}, true)}, 20),
       full = Begin({Use(0, {2}, true)}, 250, 258);
  Steps(8, {&longer, &full, &shorter});
  Steps(8, {&longer, &shorter});
  Steps(kConfig.n_ctx - longer.cpu->length(), {&longer});
}

TEST_P(DeviceStepTest, SequencesJoinLeaveAndComeBack) {
  Pair first = Begin({Use(0, {2}, true)}, 12), second = Begin({}, 40);
  Steps(5, {&first, &second});
  Steps(2, {&second});
  {
    Pair third = Begin({Use(1, {1, 2}, true)}, 3);
    Steps(5, {&second, &third, &first});
  }
  Steps(5, {&first, &second});
  Steps(5, {&second, &first});
}

// Rows of the mask begin where these end.
TEST_P(DeviceStepTest, CachesMayEndAnywhere) {
  Pair first = Begin({}, 10, 150), second = Begin({Use(0, {2}, true)}, 20, 123), third = Begin({}, 5, 120);
  Steps(5, {&first, &second, &third});
}

// A fork has the same tensors until either runs its next step.
TEST_P(DeviceStepTest, AForkGoesItsOwnWay) {
  Pair origin = Begin({Use(0, {1, 2}, true)}, 12);
  Steps(5, {&origin});
  Pair fork = Fork(origin);
  Steps(5, {&origin});
  Steps(5, {&fork});
  Steps(5, {&origin, &fork});
  {
    Pair last = Fork(fork);
    std::swap(last, fork);  // the copy stays, the original goes
  }
  Steps(5, {&fork});
}

TEST_P(DeviceStepTest, TracesAreOfEachStep) {
  SequenceOptions options{.uses = {Use(0, {2}, true)}, .capacity = 20, .trace = true};
  Sequence device(*device_, options), cpu(*cpu_, options);
  for (int step = 0; step < 6; ++step) {
    const Tokens tokens = RandomTokens(random_, step == 0 ? 4 : 1, *cpu_);
    Feed(*device_, device, tokens);
    Feed(*cpu_, cpu, tokens);
    ASSERT_EQ(device.trace().size(), static_cast<size_t>(kConfig.n_head * device.length()));
    ASSERT_EQ(device.trace().size(), cpu.trace().size());
    for (size_t i = 0; i < cpu.trace().size(); ++i) {
      const TraceEntry &of_device = device.trace()[i], &of_cpu = cpu.trace()[i];
      EXPECT_EQ(of_device.head, of_cpu.head);
      EXPECT_EQ(of_device.position, of_cpu.position);
      EXPECT_NEAR(of_device.attention, of_cpu.attention, 1e-5);
      ASSERT_EQ(of_device.neighbours.size(), of_cpu.neighbours.size());
      for (size_t j = 0; j < of_cpu.neighbours.size(); ++j) {
        EXPECT_NEAR(of_device.neighbours[j].distance, of_cpu.neighbours[j].distance, 1e-4);
        EXPECT_NEAR(of_device.weights[j], of_cpu.weights[j], 1e-4);
      }
    }
  }
}

// One row is left to run, from the memory's layer on all of them.
TEST_P(DeviceStepTest, APromptTakesOverAllButItsLastToken) {
  const SequenceOptions options{.uses = {Use(0, {2}, true)}, .capacity = 40, .keep_prefix = true};
  Sequence first(*device_, options), second(*device_, options);
  const Tokens prompt = RandomTokens(random_, 20, *cpu_), next = RandomTokens(random_, 1, *cpu_);
  const Logits expected = Feed(*device_, first, prompt);
  auto prefix = PromptPrefix::Of(first, nullptr, 0);
  ASSERT_TRUE(prefix.ok()) << prefix.status();
  second.TakeOver(*prefix, static_cast<int>(prompt.size()) - 1);
  EXPECT_LE(MaxDifference(Feed(*device_, second, prompt), expected), kTolerance);
  EXPECT_LE(MaxDifference(Feed(*device_, second, next), Feed(*device_, first, next)), kTolerance);
}

// That the tests above could not miss a memory's part.
TEST_P(DeviceStepTest, AMemoryChangesTheLogitsByMuchMoreThanTheTolerance) {
  Sequence plain(*device_, {.capacity = 20}), with(*device_, {.uses = {Use(0, {2}, true)}, .capacity = 20});
  const Tokens prompt = RandomTokens(random_, 5, *cpu_), next = RandomTokens(random_, 1, *cpu_);
  for (Sequence* sequence : {&plain, &with}) {
    Feed(*device_, *sequence, prompt);
    Feed(*device_, *sequence, next);
  }
  EXPECT_GT(MaxDifference(plain.logits(), with.logits()), 20 * kTolerance);
}

}  // namespace
}  // namespace mtm
