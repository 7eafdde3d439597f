// SPDX-License-Identifier: Apache-2.0
// Decode steps as the benchmarks run them.
#ifndef MTM_TESTS_BENCHMARKS_DECODE_STEPS_H_
#define MTM_TESTS_BENCHMARKS_DECODE_STEPS_H_

#include <benchmark/benchmark.h>

#include <cstdint>
#include <functional>
#include <iostream>
#include <memory>
#include <vector>

#include "server/model/model.h"
#include "server/model/sequence.h"
#include "tests/benchmarks/memory_settings.h"

namespace mtm {

inline constexpr int kStepsPerFork = 16;

inline void RunStep(const Model& model, Sequence& sequence) {
  Sequence* const batch[] = {&sequence};
  if (const absl::Status status = model.Step(batch); !status.ok()) std::cerr << status << "\n";
}

// A sequence behind a prompt of `n_tokens`, with room for what StartSteps and kStepsPerFork steps add.
inline std::unique_ptr<Sequence> Prefilled(const Model& model, int n_tokens, Mode mode,
                                           std::vector<MemoryUse> uses, DataType cache = DataType::kF32,
                                           int seed = 2) {
  auto sequence = std::make_unique<Sequence>(
      model,
      SequenceOptions{
          .mode = mode, .uses = std::move(uses), .capacity = n_tokens + kStepsPerFork + 1, .cache = cache});
  sequence->Append(SomeTokens(n_tokens, seed));
  RunStep(model, *sequence);
  return sequence;
}

// `n` of them in cached mode, each behind a prompt and with uses of its own: what they look up is not the
// same.
inline std::vector<std::unique_ptr<Sequence>> PrefilledApart(
    const Model& model, int64_t n, int n_tokens, const std::function<std::vector<MemoryUse>()>& uses) {
  std::vector<std::unique_ptr<Sequence>> prefilled;
  for (int i = 0; i < n; ++i) {
    prefilled.push_back(Prefilled(model, n_tokens, Mode::kCached, uses(), DataType::kF32, /*seed=*/2 + i));
  }
  return prefilled;
}

// A fork whose caches are its own: its first step copies them, which is no part of a step's cost.
inline std::unique_ptr<Sequence> StartSteps(const Model& model, const Sequence& prefilled) {
  std::unique_ptr<Sequence> sequence = prefilled.Fork();
  const int32_t token = 17;
  sequence->Append({&token, 1});
  RunStep(model, *sequence);
  return sequence;
}

// Times steps, all sequences' together, that follow `prefilled`, begun anew every kStepsPerFork; `after_step`
// looks at each sequence behind each. How many steps.
template <typename AfterStep = void (*)(const Sequence&)>
int64_t TimeSteps(
    benchmark::State& state, const Model& model, const std::vector<std::unique_ptr<Sequence>>& prefilled,
    AfterStep after_step = [](const Sequence&) {}) {
  std::vector<std::unique_ptr<Sequence>> sequences;
  std::vector<Sequence*> batch;
  int64_t steps = 0;
  for (auto _ : state) {
    if (steps % kStepsPerFork == 0) {
      state.PauseTiming();
      sequences.clear();
      batch.clear();
      for (const auto& one : prefilled) {
        sequences.push_back(StartSteps(model, *one));
        batch.push_back(sequences.back().get());
      }
      state.ResumeTiming();
    }
    const auto token = static_cast<int32_t>(steps++ * 31 % 50000);
    for (Sequence* sequence : batch) sequence->Append({&token, 1});
    if (absl::Status status = model.Step(batch); !status.ok()) state.SkipWithError("step failed");
    for (const Sequence* sequence : batch) after_step(*sequence);
  }
  state.SetItemsProcessed(state.iterations() * std::ssize(batch));
  return steps;
}

}  // namespace mtm

#endif  // MTM_TESTS_BENCHMARKS_DECODE_STEPS_H_
