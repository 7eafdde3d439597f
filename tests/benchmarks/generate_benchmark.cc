// SPDX-License-Identifier: Apache-2.0
// What compare.py drives: the engine with a model, greedy, told by lines what to do.
//   generate_benchmark FOLDER fp32|fp16|int8 THREADS
//   < {"prompts":[[1,2],[3,4]],"max_tokens":128}
//   > {"seconds":1.5,"tokens":[[...],[...]]}
// With "type":2 or 3 and "memory_tokens":1000 beside the prompts each request uses a memory of that many
// tokens as memory_settings.h has it; made by the model, or beyond 10,000 tokens synthetic
// (synthetic_memory.h).
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/time/clock.h"
#include "memory_store/memory_store.h"
#include "nlohmann/json.hpp"
#include "server/generation/engine.h"
#include "server/generation/make_memory.h"
#include "server/model/threads.h"
#include "tests/benchmarks/memory_settings.h"
#include "tests/benchmarks/synthetic_memory.h"

namespace mtm {
namespace {

using Json = nlohmann::json;

class Recorder : public GenerationSink {
 public:
  explicit Recorder(absl::BlockingCounter& running) : running_(running) {}
  bool HasRoom() override { return true; }
  bool IsCancelled() override { return false; }
  void OnToken(GeneratedToken token) override { tokens_.push_back(token.id); }
  void OnSampleFinished(int, FinishReason, std::string, Lookups) override {}
  void OnDone(const absl::Status& status, const RequestStats&) override {
    status_ = status;
    running_.DecrementCount();
  }
  const absl::Status& status() const { return status_; }
  const std::vector<int32_t>& tokens() const { return tokens_; }

 private:
  absl::BlockingCounter& running_;
  std::vector<int32_t> tokens_;
  absl::Status status_;
};

// Made when they are first asked for.
class Memories {
 public:
  explicit Memories(const Model& model) : model_(model) {
    std::string pattern = (std::filesystem::temp_directory_path() / "generate_benchmark.XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    store_ = Must(MemoryStore::Open(folder_));
  }
  ~Memories() {
    store_.reset();
    std::filesystem::remove_all(folder_);
  }
  Memories(const Memories&) = delete;
  Memories& operator=(const Memories&) = delete;

  // Of one request: each gets the memory from the store, as in the server.
  std::vector<MemoryUse> Uses(int type, int64_t n_tokens) {
    if (type == 0) return {};
    const std::string name = absl::StrCat("of-", n_tokens);
    if (!store_->Find(name).ok()) Make(name, n_tokens);
    const std::shared_ptr<const Memory> memory = Must(store_->Get(name));
    if (type == 2) return {{memory, {memory->spec().layers.back()}, kRecallSettings}};
    return {{memory, {7, 8, 9}, kSentimentSettings}};
  }

 private:
  // By the model, of tokens without meaning, where that does not take minutes.
  void Make(const std::string& name, int64_t n_tokens) {
    if (n_tokens <= 10'000) {
      const CreateRequest request{.name = name,
                                  .leading = {198},
                                  .tokens = SomeTokens(static_cast<int>(n_tokens), 1),
                                  .layers = {7, 8, 9, 10}};
      Must(MakeMemory(model_, *store_, request).status());
      return;
    }
    const MemorySpec spec = SyntheticSpec(model_);
    const std::vector<PlannedWindow> windows = SyntheticWindows(n_tokens);
    const std::unique_ptr<MemoryWriter> writer = Must(store_->Create(name, spec, windows));
    SyntheticKeys keys(1, spec.head_dim);
    StoreClock clock;
    for (const PlannedWindow& window : windows) WriteWindow(*writer, spec, window.n_tokens, keys, clock);
    Must(writer->Commit().status());
  }

  const Model& model_;
  std::filesystem::path folder_;
  std::unique_ptr<MemoryStore> store_;
};

Json Run(Engine& engine, Memories& memories, const Json& task) {
  const auto prompts = task["prompts"].get<std::vector<std::vector<int32_t>>>();
  const int type = task.value("type", 0);
  const int64_t memory_tokens = task.value("memory_tokens", 0);
  absl::BlockingCounter running(static_cast<int>(prompts.size()));
  std::vector<std::shared_ptr<Recorder>> recorders;
  const absl::Time start = absl::Now();
  for (const std::vector<int32_t>& prompt : prompts) {
    recorders.push_back(std::make_shared<Recorder>(running));
    engine.Generate({.context = {.prompt = prompt, .uses = memories.Uses(type, memory_tokens)},
                     .max_tokens = task["max_tokens"],
                     .sampling = {.temperature = 0},
                     .ignore_end_of_text = true},
                    recorders.back());
  }
  running.Wait();
  Json result = {{"seconds", absl::ToDoubleSeconds(absl::Now() - start)}, {"tokens", Json::array()}};
  for (const auto& recorder : recorders) {
    if (!recorder->status().ok()) return {{"error", recorder->status().ToString()}};
    result["tokens"].push_back(recorder->tokens());
  }
  return result;
}

}  // namespace
}  // namespace mtm

int main(int argc, char** argv) {
  const std::vector<std::string> types = {"fp32", "fp16", "int8"};
  int threads = 0;
  const auto type = argc == 4 ? std::find(types.begin(), types.end(), argv[2]) : types.end();
  if (type == types.end() || !absl::SimpleAtoi(argv[3], &threads)) {
    std::cerr << "usage: generate_benchmark FOLDER fp32|fp16|int8 THREADS\n";
    return 2;
  }
  mtm::SetModelThreads(threads);
  const absl::Time start = absl::Now();
  const auto model = mtm::Model::Load(argv[1], "cpu", static_cast<mtm::WeightType>(type - types.begin()));
  if (!model.ok()) {
    std::cerr << model.status() << "\n";
    return 1;
  }
  std::cout << mtm::Json{{"load_seconds", absl::ToDoubleSeconds(absl::Now() - start)}} << std::endl;
  mtm::Engine engine(**model, nullptr, {.max_prompt_cache_bytes = 0});  // each round runs the same prompts
  mtm::Memories memories(**model);
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << mtm::Run(engine, memories, mtm::Json::parse(line)) << std::endl;
  }
}
