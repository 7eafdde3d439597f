// SPDX-License-Identifier: Apache-2.0
#include "tests/model/model_fixture.h"

#include <algorithm>
#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "gtest/gtest.h"
#include "server/generation/make_memory.h"
#include "server/model/threads.h"

namespace mtm {
namespace {

template <typename T>
T Pick(std::mt19937_64& random, std::initializer_list<T> values) {
  return values.begin()[random() % values.size()];
}

template <typename T>
T OrDie(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  ADD_FAILURE() << value.status();
  std::abort();
}

}  // namespace

std::filesystem::path TinyFolder() { return std::filesystem::path(MTM_TESTDATA) / "golden" / "tiny"; }

std::unique_ptr<Model> LoadTiny(WeightType weights, const std::string& device) {
  SetModelThreads(1);  // with so small a model, threads only wait for each other
  return OrDie(Model::Load(TinyFolder(), device, weights));
}

std::vector<std::string> TestDevices() {
  const char* const named = std::getenv("MTM_TEST_DEVICE");
  std::vector<std::string> devices = {"cpu", "torch"};
  const std::string other = named == nullptr ? "none" : named;
  if (std::ranges::find(devices, other) == devices.end()) devices.push_back(other);
  return devices;
}

std::string NameOfDevice(const testing::TestParamInfo<std::string>& test) {
  return absl::StrReplaceAll(test.param, {{":", "_"}});
}

std::unique_ptr<Model> RandomModel(const ModelConfig& config, uint64_t seed) {
  return OrDie(Model::Random(config, seed));
}

Tokens RandomTokens(std::mt19937_64& random, int n, const Model& model) {
  Tokens tokens(static_cast<size_t>(n));
  for (int32_t& token : tokens)
    token = static_cast<int32_t>(random() % static_cast<unsigned>(model.config().vocab_size));
  return tokens;
}

TestMemories::TestMemories(const Model& model)
    : model_(model), store_(OrDie(MemoryStore::Open(folder_.path() / "store"))) {}

std::shared_ptr<const Memory> TestMemories::Make(const Tokens& tokens, std::vector<int> layers) {
  if (layers.empty()) layers = AllLayers(model_);
  return OrDie(MakeMemory(model_, *store_,
                          {.name = absl::StrCat("memory", store_->catalog()->size()),
                           .leading = {0},
                           .tokens = tokens,
                           .layers = std::move(layers)}));
}

std::vector<int> AllLayers(const Model& model) {
  std::vector<int> layers;
  for (int layer = 1; layer <= model.config().n_layer; ++layer) layers.push_back(layer);
  return layers;
}

Logits Feed(const Model& model, Sequence& sequence, const Tokens& tokens) {
  sequence.Append(tokens);
  Sequence* const batch[] = {&sequence};
  const absl::Status status = model.Step(batch);
  EXPECT_TRUE(status.ok()) << status;
  return {sequence.logits().begin(), sequence.logits().end()};
}

DataType RandomCache(std::mt19937_64& random) { return random() % 2 == 0 ? DataType::kF32 : DataType::kF16; }

MemoryParameters RandomParameters(std::mt19937_64& random) {
  return {.method = Pick(random, {Method::kType1, Method::kType2, Method::kType3}),
          .k = Pick(random, {1, 2, 3, 5, 1000}),
          .memory_fraction = Pick(random, {0.0, 0.4, 1.0, 3.0, 10.0}),
          .bookkeeping_fraction = Pick(random, {0.0, 0.05, 0.3, 0.9, 1.0}),
          .score_scale = Pick(random, {0.01, 1.0, 30.0, 1000.0}),
          .residual_fraction = Pick(random, {0.0, 0.33, 1.0}),
          .head_fraction = Pick(random, {1.0, 1.0, 1.0, 0.3, 0.05})};
}

std::vector<MemoryUse> RandomUses(std::mt19937_64& random,
                                  const std::vector<std::shared_ptr<const Memory>>& memories, int n_layer) {
  std::vector<MemoryUse> uses;
  for (const auto& memory : memories) uses.push_back({memory, {}, RandomParameters(random)});
  for (int layer = 1; layer <= n_layer; ++layer) {
    const size_t use = random() % (uses.size() + 1);
    if (use < uses.size()) uses[use].layers.push_back(layer);
  }
  std::erase_if(uses, [](const MemoryUse& use) { return use.layers.empty(); });
  return uses;
}

std::string Describe(const std::vector<MemoryUse>& uses) {
  std::string text;
  for (const MemoryUse& use : uses) {
    const MemoryParameters& p = use.parameters;
    absl::StrAppend(&text, "[layers ", absl::StrJoin(use.layers, ","), " type ", int(p.method), " k ", p.k,
                    " MF ", p.memory_fraction, " BF ", p.bookkeeping_fraction, " TS ", p.score_scale, " R ",
                    p.residual_fraction, " f ", p.head_fraction, " of ", use.memory->n_tokens(), " tokens]");
  }
  return text;
}

}  // namespace mtm
