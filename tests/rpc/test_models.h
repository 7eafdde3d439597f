// SPDX-License-Identifier: Apache-2.0
// Models and memories for tests of the service.
#ifndef MTM_TESTS_RPC_TEST_MODELS_H_
#define MTM_TESTS_RPC_TEST_MODELS_H_

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "gtest/gtest.h"
#include "memory_store/memory_store.h"
#include "server/generation/make_memory.h"
#include "server/model/model.h"
#include "server/model/threads.h"
#include "server/text/tokenizer.h"

namespace mtm {

// Small, with GPT-2's vocabulary.
inline ModelConfig SmallConfig() {
  return {.n_layer = 4,
          .n_head = 2,
          .n_embd = 16,
          .n_ctx = 64,
          .n_inner = 64,
          .vocab_size = 50257,
          .end_of_text = 50256};
}

inline std::unique_ptr<Model> MakeSmallModel(uint64_t seed) {
  SetModelThreads(1);  // small matrices only lose by more
  auto model = Model::Random(SmallConfig(), seed);
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

// Shared by the tests of a process.
inline const Model& SmallModel() {
  static const Model& model = *MakeSmallModel(1).release();
  return model;
}

inline std::filesystem::path TinyFolder() { return std::filesystem::path(MTM_TESTDATA) / "golden" / "tiny"; }

// The golden model: 4 layers, 4 heads of 8, context 48, 512 tokens; without a tokenizer.
inline const Model& TinyModel(const std::string& device = "cpu") {
  SetModelThreads(1);
  static auto& models = *new std::map<std::string, std::unique_ptr<Model>>;
  std::unique_ptr<Model>& model = models[device];
  if (model == nullptr) model = Model::Load(TinyFolder(), device).value();
  return *model;
}

inline const Tokenizer& Gpt2Tokenizer() {
  static const Tokenizer& tokenizer =
      *Tokenizer::Load(std::filesystem::path(MTM_TESTDATA) / "tokenizer").value().release();
  return tokenizer;
}

// A path of this test alone, where nothing is.
inline std::filesystem::path FreshFolder() {
  const testing::TestInfo& test = *testing::UnitTest::GetInstance()->current_test_info();
  std::string name = std::string("mtm_rpc_") + test.test_suite_name() + "." + test.name();
  for (char& c : name) {
    if (c == '/') c = '_';
  }
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / name;
  std::filesystem::remove_all(path);
  return path;
}

inline std::unique_ptr<MemoryStore> OpenStore(const std::filesystem::path& folder) {
  auto store = MemoryStore::Open(folder);
  EXPECT_TRUE(store.ok()) << store.status();
  return *std::move(store);
}

// A memory of the token ids first .. first + n - 1, behind a newline's id.
inline std::shared_ptr<const Memory> AddMemory(const Model& model, MemoryStore& store,
                                               const std::string& name, std::vector<int> layers,
                                               int32_t first = 100, int n = 30) {
  CreateRequest request{.name = name, .leading = {198}, .layers = std::move(layers)};
  for (int32_t id = first; id < first + n; ++id) request.tokens.push_back(id);
  auto memory = MakeMemory(model, store, request);
  EXPECT_TRUE(memory.ok()) << memory.status();
  return *std::move(memory);
}

}  // namespace mtm

#endif  // MTM_TESTS_RPC_TEST_MODELS_H_
