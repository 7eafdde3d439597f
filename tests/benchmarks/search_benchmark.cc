// SPDX-License-Identifier: Apache-2.0
// The nearest 5 of 1k, 10k and 100k keys of 64 numbers, for 1 and for 32 queries. Linked to LibTorch as the
// server is, whose sgemm FAISS then takes. PlainLoop is what FAISS is measured against: the same exact answer
// from a loop that our compiler vectorises. Argument: none but Google Benchmark's.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "memory_store/search.h"

namespace mtm {
namespace {

constexpr int kDim = 64;
constexpr int kNeighbours = 5;

std::vector<float> Random(uint32_t seed, int64_t n_rows, float offset) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(offset);
  std::vector<float> numbers(static_cast<size_t>(n_rows * kDim));
  for (float& x : numbers) x = normal(random);
  return numbers;
}

// Arguments: keys, queries, and the offset that all numbers share.
void BM_Search(benchmark::State& state) {
  const std::vector<float> keys = Random(1, state.range(0), static_cast<float>(state.range(2)));
  const std::vector<float> queries = Random(2, state.range(1), static_cast<float>(state.range(2)));
  for (auto _ : state) benchmark::DoNotOptimize(NearestKeys(keys, kDim, queries, kNeighbours));
  state.SetItemsProcessed(state.iterations() * state.range(0) * state.range(1));
}
BENCHMARK(BM_Search)
    ->ArgNames({"keys", "queries", "offset"})
    ->ArgsProduct({{1'000, 10'000, 100'000}, {1, 32}, {0, 1}})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

float SquaredDistance(const float* a, const float* b) {
  float lanes[16] = {};
  for (int i = 0; i < kDim; i += 16) {
    for (int lane = 0; lane < 16; ++lane) {
      const float difference = a[i + lane] - b[i + lane];
      lanes[lane] += difference * difference;
    }
  }
  float sum = 0;
  for (const float lane : lanes) sum += lane;
  return sum;
}

void BM_PlainLoop(benchmark::State& state) {
  const std::vector<float> keys = Random(1, state.range(0), 0);
  const std::vector<float> queries = Random(2, state.range(1), 0);
  std::vector<Neighbour> all(static_cast<size_t>(state.range(0)));
  for (auto _ : state) {
    for (int64_t q = 0; q < state.range(1); ++q) {
      for (int64_t i = 0; i < state.range(0); ++i) {
        all[static_cast<size_t>(i)] = {.position = i,
                                       .distance = SquaredDistance(&queries[static_cast<size_t>(q * kDim)],
                                                                   &keys[static_cast<size_t>(i * kDim)])};
      }
      std::partial_sort(all.begin(), all.begin() + kNeighbours, all.end(),
                        [](const Neighbour& a, const Neighbour& b) { return a.distance < b.distance; });
      benchmark::DoNotOptimize(all.data());
    }
  }
  state.SetItemsProcessed(state.iterations() * state.range(0) * state.range(1));
}
BENCHMARK(BM_PlainLoop)
    ->ArgNames({"keys", "queries"})
    ->ArgsProduct({{1'000, 10'000, 100'000}, {1, 32}})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace mtm
