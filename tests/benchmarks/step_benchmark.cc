// SPDX-License-Identifier: Apache-2.0
// Steps of a GPT-2 124M shape with random weights, plain and with a memory of 1,000 tokens: Type 2 with the
// recall settings in layer 10, Type 3 with the sentiment settings in layers 7 to 9, as memory_settings.h has
// them. Prefill is also what a step of exact mode costs that computes everything anew. plot_steps.py draws
// it. In exact mode which 10 % of the tokens-heads it is changes from step to step at all positions: the
// worst case for what it can keep.
#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>
#include <c10/core/InferenceMode.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <numeric>

#include "memory_store/memory_store.h"
#include "server/generation/make_memory.h"
#include "server/model/model.h"
#include "server/model/sequence.h"
#include "tests/benchmarks/decode_steps.h"
#include "tests/support/gpt2_shapes.h"

namespace mtm {
namespace {

constexpr int kMemoryTokens = 1000;

// What every benchmark shares: the model and one memory.
struct Fixture {
  std::unique_ptr<Model> model;
  std::filesystem::path folder;
  std::unique_ptr<MemoryStore> store;

  Fixture() {
    std::cerr << "making a 124M model and a memory of " << kMemoryTokens << " tokens ...\n";
    std::string pattern = (std::filesystem::temp_directory_path() / "step_benchmark.XXXXXX").string();
    folder = mkdtemp(pattern.data());
    model = Model::Random(Gpt2Small(), 1).value();
    store = MemoryStore::Open(folder).value();
    const CreateRequest request{
        .name = "memory", .leading = {198}, .tokens = SomeTokens(kMemoryTokens, 1), .layers = {7, 8, 9, 10}};
    if (!MakeMemory(*model, *store, request).ok()) std::abort();
  }
  ~Fixture() { std::filesystem::remove_all(folder); }
};

const Fixture& Shared() {
  static const Fixture fixture;
  return fixture;
}

enum Use { kPlain = 0, kType2 = 2, kType3 = 3 };

std::vector<MemoryUse> Uses(int64_t use) {
  if (use == kPlain) return {};
  const auto memory = Shared().store->Get("memory").value();  // each request has one of its own
  if (use == kType2) return {{memory, {10}, kRecallSettings}};
  return {{memory, {7, 8, 9}, kSentimentSettings}};
}

std::unique_ptr<Sequence> Prefilled(int n_tokens, Mode mode, int64_t use) {
  return Prefilled(*Shared().model, n_tokens, mode, Uses(use));
}

// Steps over state.range(0) tokens on average, as Prefill has them: half of those that are timed are over
// fewer.
void DecodeStep(benchmark::State& state, Mode mode) {
  std::vector<std::unique_ptr<Sequence>> prefilled;
  const int n_prompt = static_cast<int>(state.range(0)) - kStepsPerFork / 2 - 1;
  prefilled.push_back(Prefilled(n_prompt, mode, state.range(1)));
  int64_t changed = 0, rows = 0;
  const int64_t steps = TimeSteps(state, *Shared().model, prefilled, [&](const Sequence& sequence) {
    changed += sequence.tokens_heads_changed();
    rows += std::accumulate(sequence.rows_computed().begin(), sequence.rows_computed().end(), int64_t{0});
  });
  state.counters["changed"] = static_cast<double>(changed) / steps;
  state.counters["rows"] = static_cast<double>(rows) / steps / Shared().model->config().n_layer;
}

void Prefill(benchmark::State& state) {
  for (auto _ : state) Prefilled(static_cast<int>(state.range(0)), Mode::kCached, state.range(1));
}

// state.range(0) sequences of 128 tokens, each of its own prompt, in one step.
void BatchedStep(benchmark::State& state) {
  const Model& model = *Shared().model;
  TimeSteps(state, model,
            PrefilledApart(model, state.range(0), 128, [&state] { return Uses(state.range(1)); }));
}

// state.range(1) tokens each, and a cache of numbers of state.range(2) bits.
void CacheStep(benchmark::State& state) {
  const Model& model = *Shared().model;
  const DataType cache = state.range(2) == 16 ? DataType::kF16 : DataType::kF32;
  std::vector<std::unique_ptr<Sequence>> prefilled;
  prefilled.push_back(Prefilled(model, static_cast<int>(state.range(1)), Mode::kCached, {}, cache));
  while (std::ssize(prefilled) < state.range(0)) prefilled.push_back(prefilled.front()->Fork());
  TimeSteps(state, model, prefilled);
}

// The floor that a plain step is held against: its matrix products by bare at::linear calls, one row.
void BareLinearCalls(benchmark::State& state) {
  Shared();  // memory is allocated in the same way for both
  const c10::InferenceMode inference;
  const ModelConfig c = Gpt2Small();
  const std::vector<std::pair<int64_t, int64_t>> shapes = {
      {3 * c.n_embd, c.n_embd}, {c.n_embd, c.n_embd}, {c.n_inner, c.n_embd}, {c.n_embd, c.n_inner}};
  std::vector<std::pair<at::Tensor, at::Tensor>> layers;
  for (int layer = 0; layer < c.n_layer; ++layer) {
    for (const auto& [out, in] : shapes) layers.emplace_back(at::randn({out, in}), at::randn({out}));
  }
  layers.emplace_back(at::randn({c.vocab_size, c.n_embd}), at::Tensor());
  const at::Tensor small = at::randn({1, c.n_embd}), wide = at::randn({1, c.n_inner});
  for (auto _ : state) {
    for (const auto& [weight, bias] : layers) {
      const at::Tensor& x = weight.size(1) == c.n_embd ? small : wide;
      benchmark::DoNotOptimize(
          at::linear(x, weight, bias.defined() ? std::optional<at::Tensor>(bias) : std::nullopt));
    }
  }
}

// What bounds a step: memory that all threads read, fetched ahead as a step's weights are, and
// multiplications where nothing has to be fetched.
void ReadMemory(benchmark::State& state) {
  const c10::InferenceMode inference;
  const at::Tensor numbers = at::ones({int64_t{1} << 27});
  const float* const from = numbers.const_data_ptr<float>();
  constexpr int64_t kLanes = 64, kAhead = 1024;
  for (auto _ : state) {
    at::parallel_for(0, numbers.numel() / kLanes, 1 << 10, [from](int64_t begin, int64_t end) {
      float sums[kLanes] = {};
      for (const float* row = from + begin * kLanes; row < from + end * kLanes; row += kLanes) {
        for (int64_t i = 0; i < kLanes; i += 16) __builtin_prefetch(row + kAhead + i);
        for (int64_t i = 0; i < kLanes; ++i) sums[i] += row[i];
      }
      benchmark::DoNotOptimize(sums);
    });
  }
  state.SetBytesProcessed(state.iterations() * numbers.numel() * int64_t{sizeof(float)});
}

void LargeProduct(benchmark::State& state) {
  const c10::InferenceMode inference;
  constexpr int64_t kSize = 2048;
  const at::Tensor a = at::randn({kSize, kSize}), b = at::randn({kSize, kSize});
  for (auto _ : state) benchmark::DoNotOptimize(at::mm(a, b));
  state.SetItemsProcessed(state.iterations() * kSize * kSize * kSize);
}

BENCHMARK(ReadMemory)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(LargeProduct)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(BareLinearCalls)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK_CAPTURE(DecodeStep, cached, Mode::kCached)
    ->ArgNames({"context", "type"})
    ->ArgsProduct({{64, 128, 256, 512, 1000}, {kPlain, kType2, kType3}})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
BENCHMARK_CAPTURE(DecodeStep, exact, Mode::kExact)
    ->ArgNames({"context", "type"})
    ->ArgsProduct({{128, 512}, {kPlain, kType2, kType3}})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
BENCHMARK(Prefill)
    ->ArgNames({"tokens", "type"})
    ->ArgsProduct({{128, 512}, {kPlain, kType2, kType3}})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
BENCHMARK(CacheStep)
    ->ArgNames({"sequences", "context", "bits"})
    ->ArgsProduct({{1, 16, 64}, {128, 900}, {32, 16}})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
BENCHMARK(BatchedStep)
    ->ArgNames({"sequences", "type"})
    ->ArgsProduct({{1, 2, 4, 8, 16, 32, 64}, {kPlain, kType2, kType3}})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

}  // namespace
}  // namespace mtm

BENCHMARK_MAIN();
