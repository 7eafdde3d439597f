// SPDX-License-Identifier: Apache-2.0
// What a memory costs by its size: making, loading, appending to, searching, and a generation step that uses
// it. GPT-2 124M's shape; memories are synthetic (synthetic_memory.h), and creating is the store's part,
// without the model's pass over the text. Sizes run from small to large, and each leaves its
// memory to the benchmarks behind it, so a filter has to keep Create. A million tokens take 10 GB in TMPDIR.
//   build/benchmarks/memory_benchmark --benchmark_out=memory.json && tests/benchmarks/plot_memory.py
//   memory.json
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "memory_store/memory_store.h"
#include "memory_store/search.h"
#include "memory_store/segment.h"
#include "server/model/model.h"
#include "tests/benchmarks/decode_steps.h"
#include "tests/benchmarks/synthetic_memory.h"
#include "tests/support/gpt2_shapes.h"

namespace mtm {
namespace {

constexpr int64_t kAppended = 1000;
constexpr int kContext = 128;
constexpr int kBatch = 16;
constexpr int kNeighbours = 5;

// What every benchmark shares: the model, a store, and in it one memory at a time.
class Shared {
 public:
  Shared() : model_(Must(Model::Random(Gpt2Small(), 1))) {
    std::string pattern = (std::filesystem::temp_directory_path() / "memory_benchmark.XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    store_ = Must(MemoryStore::Open(folder_));
  }
  ~Shared() {
    store_.reset();
    std::filesystem::remove_all(folder_);
  }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;

  const Model& model() const { return *model_; }
  MemoryStore& store() { return *store_; }
  std::shared_ptr<const Memory> memory() { return Must(store_->Get("memory")); }

  MemorySpec spec() const { return SyntheticSpec(*model_); }

 private:
  std::unique_ptr<Model> model_;
  std::filesystem::path folder_;
  std::unique_ptr<MemoryStore> store_;
};

Shared& TheShared() {
  static Shared shared;
  return shared;
}

// Bytes of this process that no file backs.
double AnonymousBytes() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    if (word != "RssAnon:") continue;
    double kibibytes = 0;
    status >> kibibytes;
    return kibibytes * 1024;
  }
  return 0;
}

void Create(benchmark::State& state, int64_t n_tokens) {
  Shared& shared = TheShared();
  const MemorySpec spec = shared.spec();
  const std::vector<PlannedWindow> windows = SyntheticWindows(n_tokens);
  for (auto _ : state) {
    if (shared.store().Find("memory").ok()) Must(shared.store().Delete("memory"));
    const double before = AnonymousBytes();
    SyntheticKeys keys(1, spec.head_dim);
    StoreClock clock;
    const auto writer = Must(clock.Time([&] { return shared.store().Create("memory", spec, windows); }));
    for (const PlannedWindow& window : windows) WriteWindow(*writer, spec, window.n_tokens, keys, clock);
    state.counters["grown_MB"] = (AnonymousBytes() - before) / 1e6;
    const absl::Time commit = absl::Now();
    const auto memory = Must(clock.Time([&] { return writer->Commit(); }));
    state.counters["commit_s"] =
        absl::ToDoubleSeconds(absl::Now() - commit);  // the index, fsync, reading back
    state.counters["GB"] = static_cast<double>(memory->info().size_bytes) / 1e9;
    state.SetIterationTime(clock.seconds());
  }
}

void Load(benchmark::State& state) {
  MemoryStore& store = TheShared().store();
  for (auto _ : state) {
    state.PauseTiming();
    Must(store.Unload("memory"));
    state.ResumeTiming();
    benchmark::DoNotOptimize(Must(store.Get("memory")));
  }
}

// `kAppended` tokens more, each time to what the time before left.
void Append(benchmark::State& state) {
  Shared& shared = TheShared();
  SyntheticKeys keys(2, shared.spec().head_dim);
  for (auto _ : state) {
    const auto base = shared.memory();
    const SegmentRun run = SegmentsToMerge(*base, kAppended);
    size_t first = 0;
    std::vector<PlannedWindow> planned;
    for (size_t i = 0; i < run.first; ++i) first += base->segments()[i]->windows().size();
    for (size_t i = run.first; i < run.first + run.count; ++i)
      for (const MemoryWindow& window : base->segments()[i]->windows())
        planned.push_back({.n_tokens = window.n_tokens, .source = window.source});
    const size_t n_copied = planned.size();
    planned.push_back({.n_tokens = kAppended, .source = ""});
    StoreClock clock;
    const auto writer = Must(clock.Time([&] { return shared.store().Revise(base, run, planned); }));
    for (size_t i = 0; i < n_copied; ++i)
      Must(clock.Time([&] { return writer->CopyWindow(*base, first + i); }));
    WriteWindow(*writer, shared.spec(), kAppended, keys, clock);
    Must(clock.Time([&] { return writer->Commit({.purge_older_versions = true}); }));
    state.SetIterationTime(clock.seconds());
  }
}

// Share of the exact search's nearest that the memory finds.
double Recall(const Memory& memory, int layer, int head, std::span<const float> queries) {
  const Segment& segment = *memory.segments()[0];
  const std::vector<Neighbour> exact = NearestKeys(segment.keys(layer, head), queries, kNeighbours);
  const std::vector<Neighbour> found = memory.Search(layer, head, queries, kNeighbours);
  size_t n_found = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    const auto begin = found.begin() + static_cast<std::ptrdiff_t>(i / kNeighbours * kNeighbours);
    n_found += std::find(begin, begin + kNeighbours, exact[i]) != begin + kNeighbours ? 1 : 0;
  }
  return static_cast<double>(n_found) / static_cast<double>(exact.size());
}

// One query at a time, each of another layer and head.
void Search(benchmark::State& state) {
  const auto memory = TheShared().memory();
  const MemorySpec& spec = memory->spec();
  const auto dim = static_cast<size_t>(spec.head_dim);
  SyntheticKeys keys(3, spec.head_dim);
  std::vector<float> queries(36 * dim);
  for (int i = 0; i < 36; ++i)
    keys.Fill(7 * spec.n_head + i, std::span(queries).subspan(static_cast<size_t>(i) * dim, dim));
  size_t i = 0;
  for (auto _ : state) {
    const int pair = static_cast<int>(i++ % 36);
    const auto query = std::span(queries).subspan(static_cast<size_t>(pair) * dim, dim);
    benchmark::DoNotOptimize(memory->Search(7 + pair / 12, pair % 12, query, kNeighbours));
  }
  std::vector<float> others(100 * dim);
  keys.Fill(8 * spec.n_head + 5, others);
  state.counters["recall"] = Recall(*memory, 8, 5, others);
  state.counters["indexed"] = static_cast<double>(memory->info().n_indexed);
}

std::vector<MemoryUse> Uses(int type) {
  if (type == 2) return {{TheShared().memory(), {9}, kRecallSettings}};
  if (type == 3) return {{TheShared().memory(), {7, 8, 9}, kSentimentSettings}};
  return {};
}

// Steps of `batch` sequences behind contexts of `kContext` tokens.
void RegisterStep(const std::string& name, int batch, int type) {
  const auto step = [batch, type](benchmark::State& state) {
    const Model& model = TheShared().model();
    TimeSteps(state, model, PrefilledApart(model, batch, kContext, [type] { return Uses(type); }));
  };
  benchmark::RegisterBenchmark(name.c_str(), step)->UseRealTime()->Unit(benchmark::kMillisecond);
}

void Register() {
  for (const int64_t n : {1'000, 10'000, 100'000, 1'000'000}) {
    const std::string size = "/tokens:" + std::to_string(n);
    benchmark::RegisterBenchmark(("Create" + size).c_str(),
                                 [n](benchmark::State& state) { Create(state, n); })
        ->Iterations(1)
        ->UseManualTime()
        ->Unit(benchmark::kMillisecond);
    benchmark::RegisterBenchmark(("Load" + size).c_str(), Load)
        ->Iterations(3)
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
    benchmark::RegisterBenchmark(("Search" + size).c_str(), Search)
        ->UseRealTime()
        ->Unit(benchmark::kMicrosecond);
    for (const int type : {0, 2, 3}) {  // plain beside the others: a machine is not the same for minutes
      const std::string kind = "/type:" + std::to_string(type) + size;
      RegisterStep("Step" + kind, 1, type);
      RegisterStep("BatchedStep" + kind, kBatch, type);
    }
    benchmark::RegisterBenchmark(("Append" + size).c_str(), Append)
        ->Iterations(8)
        ->UseManualTime()
        ->Unit(benchmark::kMillisecond);
  }
}

}  // namespace
}  // namespace mtm

int main(int argc, char** argv) {
  mtm::Register();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
