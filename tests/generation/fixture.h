// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_TESTS_GENERATION_FIXTURE_H_
#define MTM_TESTS_GENERATION_FIXTURE_H_

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "memory_store/memory_store.h"
#include "server/generation/engine.h"
#include "server/generation/make_memory.h"
#include "server/generation/memory_maker.h"
#include "server/model/model.h"

namespace mtm {

// The tiny golden model, with windows of 48 - 1 tokens, and a store in a folder of its own.
class GenerationTest : public ::testing::Test {
 protected:
  GenerationTest() {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::path(::testing::TempDir()) /
              (std::string("generation_test_") + test->test_suite_name() + "_" + test->name());
    std::filesystem::remove_all(folder_);
    model_ = Model::Load(MTM_TESTDATA "/golden/tiny").value();
    store_ = MemoryStore::Open(folder_).value();
  }
  ~GenerationTest() override {
    store_.reset();
    std::filesystem::remove_all(folder_);
  }

  static std::vector<int32_t> Tokens(int n, int seed) {
    std::vector<int32_t> tokens(n);
    for (int i = 0; i < n; ++i) tokens[i] = (i * 131 + seed * 37 + i * i) % 500;
    return tokens;
  }

  static CreateRequest Request(const std::string& name, int n_tokens) {
    return {.name = name, .leading = {198}, .tokens = Tokens(n_tokens, 5), .layers = {1, 2, 3, 4}};
  }

  std::shared_ptr<const Memory> Remember(const std::string& name, int n_tokens) {
    return MakeMemory(*model_, *store_, Request(name, n_tokens)).value();
  }

  // Any change, on this thread.
  absl::StatusOr<std::shared_ptr<const Memory>> Change(const MemoryChange& change) {
    const auto step = [&](Sequence& sequence) {
      Sequence* const batch[] = {&sequence};
      return model_->Step(batch);
    };
    return MakeMemory(
        *model_, nullptr, *store_, {.change = change},
        {.step = step, .check = [] { return absl::OkStatus(); }, .progress = [](int64_t, int64_t) {}});
  }

  std::filesystem::path folder_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<MemoryStore> store_;
};

}  // namespace mtm

#endif  // MTM_TESTS_GENERATION_FIXTURE_H_
