// SPDX-License-Identifier: Apache-2.0
// Runs golden cases (tests/testdata/golden/README.md) through the real model and real memories.
//   golden_runner DIR...
//   golden_runner --tokenizer MODEL_DIR FILE.jsonl
// Prints a line a case and, last, 'N passed, N failed'. Exit code 1 on any failure.
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "memory_store/memory_store.h"
#include "nlohmann/json.hpp"
#include "server/generation/make_memory.h"
#include "server/generation/sampling.h"
#include "server/model/model.h"
#include "server/model/safetensors.h"
#include "server/model/sequence.h"
#include "server/text/tokenizer.h"

namespace mtm {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using Tokens = std::vector<int32_t>;

constexpr double kLogitBound = 1e-3;
constexpr double kTraceRelative = 1e-3, kTraceAbsolute = 1e-4;

struct Score {
  int passed = 0, failed = 0;

  // `fault` is empty where the case passed.
  void Add(const std::string& name, const std::string& fault, const std::string& note = "") {
    fault.empty() ? ++passed : ++failed;
    std::cout << (fault.empty() ? "ok      " : "FAILED  ") << name << (note.empty() ? "" : "  " + note)
              << (fault.empty() ? "" : "\n        " + fault) << "\n";
  }

  int Finish() const {
    std::cout << passed << " passed, " << failed << " failed\n";
    return failed == 0 && passed > 0 ? 0 : 1;
  }
};

bool Near(double value, double expected) {
  return std::abs(value - expected) <= std::max(kTraceAbsolute, kTraceRelative * std::abs(expected));
}

// A model folder with cases beside it, and a store for their memories.
struct Suite {
  fs::path folder;
  std::unique_ptr<Model> model;
  std::shared_ptr<const SafetensorsFile> expected;
  Json cases;
  fs::path store_folder;
  std::unique_ptr<MemoryStore> store;

  ~Suite() {
    store.reset();
    if (!store_folder.empty()) fs::remove_all(store_folder);
  }
};

template <typename T>
T OrDie(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::cerr << "golden_runner: " << value.status() << "\n";
  std::exit(1);
}

Json ReadJson(const fs::path& file) {
  std::ifstream stream(file);
  Json json = Json::parse(stream, nullptr, /*allow_exceptions=*/false);
  if (!json.is_discarded()) return json;
  std::cerr << "golden_runner: " << file << " is missing or no JSON\n";
  std::exit(1);
}

void OpenSuite(const fs::path& folder, Suite& suite) {
  std::string pattern = (fs::temp_directory_path() / "golden_runner.XXXXXX").string();
  suite.folder = folder;
  suite.model = OrDie(Model::Load(folder, [] {
    const char* device = std::getenv("MTM_TEST_DEVICE");
    return std::string(device == nullptr ? "cpu" : device);
  }()));
  suite.expected = OrDie(SafetensorsFile::Open(folder / "expected.safetensors"));
  suite.cases = ReadJson(folder / "cases.json");
  suite.store_folder = mkdtemp(pattern.data());
  suite.store = OrDie(MemoryStore::Open(suite.store_folder));
}

// The memories of a case, made from their tokens.
std::map<std::string, std::shared_ptr<const Memory>> MakeMemories(Suite& suite, const Json& golden) {
  std::map<std::string, std::shared_ptr<const Memory>> memories;
  std::vector<int> all_layers;
  for (int layer = 1; layer <= suite.model->config().n_layer; ++layer) all_layers.push_back(layer);
  for (const auto& [name, json] : golden["memories"].items()) {
    const Tokens tokens = json["tokens"].get<Tokens>();
    const auto n_leading = json["drop_first"].get<ptrdiff_t>();
    memories[name] = OrDie(MakeMemory(*suite.model, *suite.store,
                                      {.name = absl::StrCat("case", suite.store->catalog()->size()),
                                       .leading = Tokens(tokens.begin(), tokens.begin() + n_leading),
                                       .tokens = Tokens(tokens.begin() + n_leading, tokens.end()),
                                       .layers = all_layers}));
  }
  return memories;
}

std::vector<MemoryUse> MakeUses(const Json& golden,
                                const std::map<std::string, std::shared_ptr<const Memory>>& memories) {
  std::vector<MemoryUse> uses;
  for (const Json& use : golden["uses"]) {
    MemoryParameters parameters{.method = static_cast<Method>(use["method"].get<int>()),
                                .k = use["k"].get<int>(),
                                .memory_fraction = use["memory_fraction"].get<double>(),
                                .bookkeeping_fraction = use["bookkeeping_fraction"].get<double>(),
                                .score_scale = use["score_scale"].get<double>()};
    if (use.contains("residual_fraction")) parameters.residual_fraction = use["residual_fraction"].get<double>();
    if (use.contains("head_fraction")) parameters.head_fraction = use["head_fraction"].get<double>();
    uses.push_back({memories.at(use["memory"].get<std::string>()), use["layers"].get<std::vector<int>>(), parameters});
  }
  return uses;
}

// Distances, attention and weights against one list of the case's first_step_trace.
std::string CompareTraceEntry(const TraceEntry& entry, const Json& expected) {
  const auto where = absl::StrCat("trace layer ", entry.layer, " head ", entry.head, " position ", entry.position);
  if (entry.layer != expected["layer"] || entry.head != expected["head"] || entry.position != expected["position"]) {
    return absl::StrCat(where, " where ", expected.dump(), " was expected");
  }
  if (!Near(entry.attention, expected["attention"])) return absl::StrCat(where, ": attention ", entry.attention);
  std::vector<double> weights(entry.weights.begin(), entry.weights.end());
  if (weights.size() + 1 == expected["weights"].size()) weights.insert(weights.begin(), entry.own_weight);
  if (entry.neighbours.size() != expected["neighbours"].size() || weights.size() != expected["weights"].size()) {
    return absl::StrCat(where, ": ", entry.neighbours.size(), " neighbours, ", weights.size(), " weights");
  }
  for (size_t i = 0; i < entry.neighbours.size(); ++i) {
    if (entry.neighbours[i].position != expected["neighbours"][i].get<int64_t>()) {
      return absl::StrCat(where, ": neighbour ", i, " is row ", entry.neighbours[i].position);
    }
    if (!Near(entry.neighbours[i].distance, expected["distances"][i])) {
      return absl::StrCat(where, ": distance ", i, " is ", entry.neighbours[i].distance);
    }
  }
  for (size_t i = 0; i < weights.size(); ++i) {
    if (!Near(weights[i], expected["weights"][i])) return absl::StrCat(where, ": weight ", i, " is ", weights[i]);
  }
  return "";
}

// `expected`: one list a use.
std::string CompareTrace(const std::vector<TraceEntry>& trace, const Json& expected) {
  size_t n_compared = 0;
  for (size_t use = 0; use < expected.size(); ++use) {
    size_t i = 0;
    for (const TraceEntry& entry : trace) {
      if (entry.use != static_cast<int>(use)) continue;
      if (i >= expected[use].size()) return absl::StrCat("trace: more than ", i, " entries for use ", use);
      const std::string fault = CompareTraceEntry(entry, expected[use][i++]);
      if (!fault.empty()) return fault;
      ++n_compared;
    }
    if (i != expected[use].size()) return absl::StrCat("trace: ", i, " entries for use ", use);
  }
  return n_compared == trace.size() ? "" : "trace: entries of other uses";
}

struct Run {
  std::string fault;
  double max_difference = 0;
  int64_t selected = 0;
};

// [steps, vocab]
std::span<const float> ExpectedLogits(const Suite& suite, const std::string& tensor) {
  const auto it = suite.expected->tensors().find(tensor);
  if (it == suite.expected->tensors().end() || it->second.dtype != "F32") return {};
  return {reinterpret_cast<const float*>(it->second.bytes.data()), it->second.bytes.size() / sizeof(float)};
}

std::string CompareLogits(std::span<const float> logits, std::span<const float> expected, double& max_difference) {
  for (size_t i = 0; i < logits.size(); ++i) {
    const double difference = std::abs(double(logits[i]) - expected[i]);
    if (!(difference <= max_difference)) max_difference = difference;  // NaN stays
  }
  return max_difference <= kLogitBound ? "" : absl::StrCat("a logit differs by ", max_difference);
}

// One case in one mode: free-running, or fed the expected tokens.
Run RunCase(const Suite& suite, const Json& golden, const std::vector<MemoryUse>& uses, const std::string& mode,
            bool teacher_forcing) {
  Run run;
  const Tokens prompt = golden["prompt"].get<Tokens>(), greedy = golden["greedy"][mode].get<Tokens>();
  const size_t vocab = suite.model->config().vocab_size;
  const auto expected = ExpectedLogits(suite, absl::StrCat(golden["name"].get<std::string>(), ".", mode));
  if (expected.size() != greedy.size() * vocab) return {"expected.safetensors has no such logits"};
  const int positions = static_cast<int>(prompt.size() + greedy.size()) - 1;
  Sequence sequence(*suite.model, {.mode = mode == "exact" ? Mode::kExact : Mode::kCached,
                                   .uses = uses,
                                   .capacity = std::min(positions, suite.model->config().n_ctx),
                                   .trace = golden.contains("first_step_trace")});
  sequence.Append(prompt);
  for (size_t step = 0; step < greedy.size(); ++step) {
    Sequence* const batch[] = {&sequence};
    if (absl::Status status = suite.model->Step(batch); !status.ok()) return {status.ToString()};
    run.fault = CompareLogits(sequence.logits(), expected.subspan(step * vocab, vocab), run.max_difference);
    if (run.fault.empty() && step == 0 && golden.contains("first_step_trace")) {
      run.fault = CompareTrace(sequence.trace(), golden["first_step_trace"]);
    }
    const int32_t token = SampleToken(sequence.logits(), {.temperature = 0}, 0);
    if (run.fault.empty() && token != greedy[step]) {
      run.fault = absl::StrCat("token ", token, " where ", greedy[step], " was expected");
    }
    if (!run.fault.empty()) {
      run.fault = absl::StrCat("step ", step, ": ", run.fault);
      return run;
    }
    run.selected += sequence.tokens_heads_changed();
    sequence.Append({teacher_forcing ? &greedy[step] : &token, 1});
  }
  if (run.selected != golden["selected"][mode].get<int64_t>()) {
    run.fault = absl::StrCat(run.selected, " tokens-heads selected, not ", golden["selected"][mode].dump());
  }
  return run;
}

void RunSuite(const fs::path& folder, Score& score) {
  Suite suite;
  OpenSuite(folder, suite);
  for (const Json& golden : suite.cases) {
    const auto uses = MakeUses(golden, MakeMemories(suite, golden));
    for (const auto& [mode, greedy] : golden["greedy"].items()) {
      for (bool teacher_forcing : {false, true}) {
        const Run run = RunCase(suite, golden, uses, mode, teacher_forcing);
        score.Add(absl::StrCat(folder.filename().string(), "/", golden["name"].get<std::string>(), " ", mode,
                               teacher_forcing ? " forced" : " free"),
                  run.fault, absl::StrCat("max logit difference ", run.max_difference));
      }
    }
  }
}

void RunTokenizer(const fs::path& folder, const fs::path& file, Score& score) {
  const auto tokenizer = OrDie(Tokenizer::Load(folder));
  std::ifstream stream(file);
  std::string line;
  for (int number = 1; std::getline(stream, line); ++number) {
    const Json golden = Json::parse(line);
    const auto text = golden["text"].get<std::string>();
    const auto expected = golden["ids"].get<Tokens>();
    const auto ids = tokenizer->Encode(text);
    std::string fault;
    if (!ids.ok()) {
      fault = ids.status().ToString();
    } else if (*ids != expected) {
      fault = absl::StrCat("[", absl::StrJoin(*ids, ", "), "] where [", absl::StrJoin(expected, ", "), "] was expected");
    } else if (tokenizer->Decode(*ids) != text) {
      fault = "does not decode to the text";
    }
    score.Add(absl::StrCat(file.filename().string(), " line ", number), fault);
  }
}

int Main(int argc, char** argv) {
  Score score;
  if (argc == 4 && std::strcmp(argv[1], "--tokenizer") == 0) {
    RunTokenizer(argv[2], argv[3], score);
    return score.Finish();
  }
  if (argc < 2 || argv[1][0] == '-') {
    std::cerr << "usage: golden_runner DIR...\n       golden_runner --tokenizer MODEL_DIR FILE.jsonl\n";
    return 2;
  }
  for (int i = 1; i < argc; ++i) RunSuite(argv[i], score);
  return score.Finish();
}

}  // namespace
}  // namespace mtm

int main(int argc, char** argv) { return mtm::Main(argc, argv); }
