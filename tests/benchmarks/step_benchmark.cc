// SPDX-License-Identifier: Apache-2.0
// Steps of a GPT-2 124M shape with random weights, plain and with a memory of 1,000 tokens.
//
// Random weights have no attention sink and attend almost evenly, so the paper's bounds would select nothing (BF 0.9)
// or everything (MF 5). The benchmarks fix how much is selected instead:
//   type 2, recall settings (layer 10, k 5, TS 1000, R 0.1): MF 0, BF 0: position 0 in all 12 heads; the paper has 5.
//   type 3, sentiment settings (layers 7 to 9, k 5, MF 5, TS 0.01, R 0.33): head fraction 0.1, the paper's upper end.
// In exact mode which 10 % it is changes from step to step at all positions: the worst case for what it can keep.
#include <ATen/Functions.h>
#include <benchmark/benchmark.h>
#include <c10/core/InferenceMode.h>
#include <unistd.h>

#include <filesystem>
#include <iostream>
#include <numeric>

#include "memory_store/memory_store.h"
#include "server/generation/make_memory.h"
#include "server/model/model.h"
#include "server/model/sequence.h"
#include "tests/support/gpt2_shapes.h"

namespace mtm {
namespace {

constexpr int kMemoryTokens = 1000, kStepsPerFork = 16;

std::vector<int32_t> SomeTokens(int n, int seed) {
  std::vector<int32_t> tokens(n);
  for (int i = 0; i < n; ++i) tokens[i] = (i * 7919 + seed * 104729 + 17) % 50000;
  return tokens;
}

// What every benchmark shares: the model and one memory.
struct Fixture {
  std::unique_ptr<Model> model;
  std::filesystem::path folder;
  std::unique_ptr<MemoryStore> store;
  std::shared_ptr<const Memory> memory;

  Fixture() {
    std::cerr << "making a 124M model and a memory of " << kMemoryTokens << " tokens ...\n";
    std::string pattern = (std::filesystem::temp_directory_path() / "step_benchmark.XXXXXX").string();
    folder = mkdtemp(pattern.data());
    model = Model::Random(Gpt2Small(), 1).value();
    store = MemoryStore::Open(folder).value();
    memory = MakeMemory(*model, *store,
                        {.name = "memory", .leading = {198}, .tokens = SomeTokens(kMemoryTokens, 1), .layers = {7, 8, 9, 10}})
                 .value();
  }
  ~Fixture() { std::filesystem::remove_all(folder); }
};

const Fixture& Shared() {
  static const Fixture fixture;
  return fixture;
}

enum Use { kPlain = 0, kType2 = 2, kType3 = 3 };

std::vector<MemoryUse> Uses(int64_t use) {
  if (use == kType2) {
    return {{Shared().memory, {10}, {.method = Method::kType2, .k = 5, .memory_fraction = 0, .bookkeeping_fraction = 0,
                                     .score_scale = 1000, .residual_fraction = 0.1}}};
  }
  if (use == kType3) {
    return {{Shared().memory, {7, 8, 9}, {.method = Method::kType3, .k = 5, .memory_fraction = 5,
                                          .bookkeeping_fraction = 0.9, .score_scale = 0.01, .residual_fraction = 0.33,
                                          .head_fraction = 0.1}}};
  }
  return {};
}

void RunStep(Sequence& sequence) {
  Sequence* const batch[] = {&sequence};
  const absl::Status status = Shared().model->Step(batch);
  if (!status.ok()) std::cerr << status << "\n";
}

std::unique_ptr<Sequence> Prefilled(int n_tokens, Mode mode, int64_t use) {
  auto sequence = std::make_unique<Sequence>(
      *Shared().model, SequenceOptions{.mode = mode, .uses = Uses(use), .capacity = n_tokens + kStepsPerFork});
  sequence->Append(SomeTokens(n_tokens, 2));
  RunStep(*sequence);
  return sequence;
}

// Steps that follow a context of state.range(0) tokens.
void DecodeStep(benchmark::State& state, Mode mode) {
  const auto prefilled = Prefilled(static_cast<int>(state.range(0)), mode, state.range(1));
  std::unique_ptr<Sequence> sequence;
  int64_t changed = 0, rows = 0, steps = 0;
  for (auto _ : state) {
    if (steps % kStepsPerFork == 0) {
      state.PauseTiming();
      sequence = prefilled->Fork();
      state.ResumeTiming();
    }
    const int32_t token = static_cast<int32_t>(steps * 31 % 50000);
    sequence->Append({&token, 1});
    RunStep(*sequence);
    ++steps;
    changed += sequence->tokens_heads_changed();
    rows += std::accumulate(sequence->rows_computed().begin(), sequence->rows_computed().end(), int64_t{0});
  }
  state.counters["changed"] = static_cast<double>(changed) / steps;
  state.counters["rows"] = static_cast<double>(rows) / steps / Shared().model->config().n_layer;
}

void Prefill(benchmark::State& state) {
  for (auto _ : state) Prefilled(static_cast<int>(state.range(0)), Mode::kCached, state.range(1));
}

// state.range(0) sequences of 128 tokens in one step.
void BatchedStep(benchmark::State& state) {
  const auto prefilled = Prefilled(128, Mode::kCached, state.range(1));
  std::vector<std::unique_ptr<Sequence>> sequences;
  std::vector<Sequence*> batch;
  int64_t steps = 0;
  const int32_t token = 31;
  for (auto _ : state) {
    if (steps++ % kStepsPerFork == 0) {
      state.PauseTiming();
      sequences.clear();
      batch.clear();
      for (int64_t i = 0; i < state.range(0); ++i) {
        sequences.push_back(prefilled->Fork());
        batch.push_back(sequences.back().get());
      }
      state.ResumeTiming();
    }
    for (Sequence* sequence : batch) sequence->Append({&token, 1});
    if (absl::Status status = Shared().model->Step(batch); !status.ok()) state.SkipWithError("step failed");
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
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

BENCHMARK(BareLinearCalls)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK_CAPTURE(DecodeStep, cached, Mode::kCached)
    ->ArgNames({"context", "type"})
    ->ArgsProduct({{128, 512}, {kPlain, kType2, kType3}})
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
BENCHMARK(BatchedStep)
    ->ArgNames({"sequences", "type"})
    ->ArgsProduct({{1, 8, 32}, {kPlain, kType3}})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

}  // namespace
}  // namespace mtm

BENCHMARK_MAIN();
