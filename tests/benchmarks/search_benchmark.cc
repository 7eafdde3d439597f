// SPDX-License-Identifier: Apache-2.0
// The nearest 5 of stored keys of 64 numbers, of one (layer, head), as a Memory finds them: exactly, and by
// an index. Linked to LibTorch as the server is, whose sgemm FAISS then takes. PlainLoop is what FAISS is
// measured against: the same answer from a loop of our own. Arguments: none but Google Benchmark's. Writes up
// to 1 GB into TMPDIR.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "memory_store/distance.h"
#include "memory_store/memory.h"
#include "memory_store/search.h"
#include "memory_store/segment.h"
#include "memory_store/segment_index.h"
#include "memory_store/segment_writer.h"
#include "tests/support/synthetic_keys.h"

namespace mtm {
namespace {

constexpr int kDim = 64;
constexpr int kNeighbours = 5;
constexpr int64_t kWindow = 1024;

// How keys lie: independent numbers, which no index can sort into lists, or nearer to those of a model
// (synthetic_keys.h).
enum class Keys { kIndependent, kClustered };

std::vector<float> Random(uint32_t seed, int64_t n_rows, Keys keys) {
  std::vector<float> numbers(static_cast<size_t>(n_rows * kDim));
  if (keys == Keys::kClustered) {
    SyntheticKeys(seed, kDim).Fill(0, numbers);
    return numbers;
  }
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  for (float& x : numbers) x = normal(random);
  return numbers;
}

[[noreturn]] void Fail(const absl::Status& status) {
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}

// A segment of `n` keys, its file removed already.
std::shared_ptr<const Segment> MakeSegment(int64_t n, DataType dtype, Keys keys) {
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("search_benchmark." + std::to_string(getpid()) + ".tmp");
  const MemorySpec spec{.model_fingerprint = std::string(64, '0'),
                        .layers = {1},
                        .n_head = 1,
                        .head_dim = kDim,
                        .dtype = dtype};
  std::vector<PlannedWindow> windows;
  for (int64_t begin = 0; begin < n; begin += kWindow)
    windows.push_back({.n_tokens = std::min(kWindow, n - begin), .source = ""});
  auto writer = SegmentWriter::Create(*PosixFileSystem(), path, spec, windows);
  if (!writer.ok()) Fail(writer.status());
  const std::vector<float> rows = Random(1, n, keys);
  int64_t first = 0;
  for (const PlannedWindow& window : windows) {
    const std::vector<int32_t> tokens(static_cast<size_t>(window.n_tokens));
    const auto part = std::span(rows).subspan(static_cast<size_t>(first * kDim), tokens.size() * kDim);
    absl::Status status = (*writer)->BeginWindow(tokens);
    if (status.ok()) status = (*writer)->Write(1, 0, part, part);
    if (!status.ok()) Fail(status);
    first += window.n_tokens;
  }
  const auto digest = (*writer)->Finish();
  if (!digest.ok()) Fail(digest.status());
  auto segment = Segment::Adopt(*PosixFileSystem(), path, *digest);
  if (!segment.ok()) Fail(segment.status());
  return *segment;  // the writer goes now, and its file with it
}

// One at a time is kept: they are large.
std::shared_ptr<const Segment> SegmentOf(int64_t n, DataType dtype, Keys keys) {
  static std::tuple<int64_t, DataType, Keys> kept_for;
  static std::shared_ptr<const Segment> kept;
  if (kept == nullptr || kept_for != std::tuple(n, dtype, keys)) {
    kept.reset();
    kept = MakeSegment(n, dtype, keys);
    kept_for = {n, dtype, keys};
  }
  return kept;
}

// Mapped from a file that is gone.
std::shared_ptr<const SegmentIndex> IndexOf(const Segment& segment) {
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("search_benchmark." + std::to_string(getpid()) + ".idx");
  if (const absl::Status status = SegmentIndex::Build(*PosixFileSystem(), path, segment, {}); !status.ok())
    Fail(status);
  auto index = SegmentIndex::Load(*PosixFileSystem(), path, segment);
  std::filesystem::remove(path);
  if (!index.ok()) Fail(index.status());
  return *index;
}

std::shared_ptr<const Memory> MemoryOf(std::shared_ptr<const Segment> segment) {
  MemoryInfo info{.name = "benchmark", .spec = segment->spec(), .n_tokens = segment->n_tokens()};
  return std::make_shared<const Memory>(std::move(info), std::vector{std::move(segment)});
}

// Arguments: halves or not, keys, queries.
void BM_Exact(benchmark::State& state) {
  const auto dtype = state.range(0) == 0 ? DataType::kF32 : DataType::kF16;
  const auto memory = MemoryOf(SegmentOf(state.range(1), dtype, Keys::kClustered));
  const std::vector<float> queries = Random(2, state.range(2), Keys::kClustered);
  for (auto _ : state) benchmark::DoNotOptimize(memory->Search(1, 0, queries, kNeighbours));
  state.SetItemsProcessed(state.iterations() * state.range(1) * state.range(2));
}
BENCHMARK(BM_Exact)
    ->ArgNames({"f16", "keys", "queries"})
    ->ArgsProduct({{0, 1}, {1'000, 10'000, 100'000, 1'000'000}, {1, 16, 32}})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

// Arguments: halves or not, whether keys are clustered, queries.
void BM_Index(benchmark::State& state) {
  const auto dtype = state.range(0) == 0 ? DataType::kF32 : DataType::kF16;
  const auto keys = state.range(1) == 0 ? Keys::kIndependent : Keys::kClustered;
  const std::shared_ptr<const Segment> segment = SegmentOf(1'000'000, dtype, keys);
  static std::map<std::pair<int64_t, int64_t>, std::shared_ptr<const SegmentIndex>> indexes;
  std::shared_ptr<const SegmentIndex>& index = indexes[{state.range(0), state.range(1)}];
  if (index == nullptr) index = IndexOf(*segment);
  const auto memory = MemoryOf(segment->WithIndex(index));
  const std::vector<float> queries = Random(2, state.range(2), keys);
  for (auto _ : state) benchmark::DoNotOptimize(memory->Search(1, 0, queries, kNeighbours));

  // Of queries that were not measured when it was built.
  const std::vector<float> others = Random(3, 200, keys);
  const std::vector<Neighbour> exact = NearestKeys(segment->keys(1, 0), others, 10);
  const std::vector<Neighbour> found = memory->Search(1, 0, others, 10);
  size_t n_found = 0;
  for (size_t q = 0; q < 200; ++q) {
    const std::span one(found.begin() + static_cast<std::ptrdiff_t>(q * 10), 10);
    for (size_t i = q * 10; i < (q + 1) * 10; ++i) n_found += std::ranges::count(one, exact[i]) > 0 ? 1 : 0;
  }
  state.counters["recall@10"] = static_cast<double>(n_found) / 2000;
}
BENCHMARK(BM_Index)
    ->ArgNames({"f16", "clustered", "queries"})
    ->ArgsProduct({{0, 1}, {1}, {1, 16, 64}})
    ->Args({0, 0, 1})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

// Of a million keys, halves or not.
void BM_BuildIndex(benchmark::State& state) {
  const auto dtype = state.range(0) == 0 ? DataType::kF32 : DataType::kF16;
  const std::shared_ptr<const Segment> segment = SegmentOf(1'000'000, dtype, Keys::kClustered);
  for (auto _ : state) benchmark::DoNotOptimize(IndexOf(*segment));
}
BENCHMARK(BM_BuildIndex)
    ->ArgName("f16")
    ->Arg(0)
    ->Arg(1)
    ->Iterations(1)
    ->UseRealTime()
    ->Unit(benchmark::kSecond);

// Arguments: halves or not, keys, queries.
void BM_PlainLoop(benchmark::State& state) {
  const auto dtype = state.range(0) == 0 ? DataType::kF32 : DataType::kF16;
  const StoredRows keys = SegmentOf(state.range(1), dtype, Keys::kClustered)->keys(1, 0);
  const std::vector<float> queries = Random(2, state.range(2), Keys::kClustered);
  std::vector<float> distances(static_cast<size_t>(keys.n));
  std::vector<Neighbour> all(distances.size());
  for (auto _ : state) {
    for (size_t q = 0; q < queries.size(); q += kDim) {
      ApproximateDistances(keys, 0, std::span(queries).subspan(q, kDim), distances);
      for (size_t i = 0; i < all.size(); ++i)
        all[i] = {.position = static_cast<int64_t>(i), .distance = distances[i]};
      std::partial_sort(all.begin(), all.begin() + kNeighbours, all.end(), Nearer);
      benchmark::DoNotOptimize(all.data());
    }
  }
  state.SetItemsProcessed(state.iterations() * state.range(1) * state.range(2));
}
BENCHMARK(BM_PlainLoop)
    ->ArgNames({"f16", "keys", "queries"})
    ->ArgsProduct({{0, 1}, {1'000, 10'000, 100'000, 1'000'000}, {1, 16, 32}})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace mtm
