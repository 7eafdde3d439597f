// SPDX-License-Identifier: Apache-2.0
// What compare.py drives: the engine with a model, greedy, told by lines what to do.
//   generate_benchmark FOLDER fp32|fp16|int8 THREADS
//   < {"prompts":[[1,2],[3,4]],"max_tokens":128}
//   > {"seconds":1.5,"tokens":[[...],[...]]}
#include <algorithm>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/time/clock.h"
#include "nlohmann/json.hpp"
#include "server/generation/engine.h"
#include "server/model/threads.h"

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

Json Run(Engine& engine, const Json& task) {
  const auto prompts = task["prompts"].get<std::vector<std::vector<int32_t>>>();
  absl::BlockingCounter running(static_cast<int>(prompts.size()));
  std::vector<std::shared_ptr<Recorder>> recorders;
  const absl::Time start = absl::Now();
  for (const std::vector<int32_t>& prompt : prompts) {
    recorders.push_back(std::make_shared<Recorder>(running));
    engine.Generate({.context = {.prompt = prompt},
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
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << mtm::Run(engine, mtm::Json::parse(line)) << std::endl;
  }
}
