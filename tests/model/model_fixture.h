// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_TESTS_MODEL_MODEL_FIXTURE_H_
#define MTM_TESTS_MODEL_MODEL_FIXTURE_H_

#include <cstdint>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "memory_store/memory_store.h"
#include "server/model/model.h"
#include "server/model/sequence.h"
#include "tests/support/model_folder.h"

namespace mtm {

using Tokens = std::vector<int32_t>;
using Logits = std::vector<float>;

// The golden model of 4 layers, 4 heads of 8 and 48 positions: its attention is far from uniform.
std::filesystem::path TinyFolder();
std::unique_ptr<Model> LoadTiny(WeightType weights = WeightType::kF32, const std::string& device = "cpu");

// Parameters of a test that runs on every device: the CPU's own kernels, what a GPU runs, and the device that
// MTM_TEST_DEVICE names, without which the last is skipped.
std::vector<std::string> TestDevices();
std::string NameOfDevice(const testing::TestParamInfo<std::string>& test);
// Skips the rest of the test where `device` is "none".
#define MTM_SKIP_WITHOUT_DEVICE(device) \
  if ((device) == "none") GTEST_SKIP() << "MTM_TEST_DEVICE names no device"

std::unique_ptr<Model> RandomModel(const ModelConfig& config, uint64_t seed = 1);

Tokens RandomTokens(std::mt19937_64& random, int n, const Model& model);

// Memories in a store of their own.
class TestMemories {
 public:
  explicit TestMemories(const Model& model);

  // Keeps `layers`, or all of them; behind one dropped token.
  std::shared_ptr<const Memory> Make(const Tokens& tokens, std::vector<int> layers = {});

 private:
  const Model& model_;
  TemporaryFolder folder_;
  std::unique_ptr<MemoryStore> store_;
};

std::vector<int> AllLayers(const Model& model);

// Appends, steps and returns the logits; a failing step fails the test.
Logits Feed(const Model& model, Sequence& sequence, const Tokens& tokens);

DataType RandomCache(std::mt19937_64& random);

MemoryParameters RandomParameters(std::mt19937_64& random);

// Each layer goes to one of the memories, which get parameters of their own, or to none.
std::vector<MemoryUse> RandomUses(std::mt19937_64& random,
                                  const std::vector<std::shared_ptr<const Memory>>& memories, int n_layer);

// The settings, for a failing case.
std::string Describe(const std::vector<MemoryUse>& uses);

}  // namespace mtm

#endif  // MTM_TESTS_MODEL_MODEL_FIXTURE_H_
