// SPDX-License-Identifier: Apache-2.0
// Memories of one layer with random keys and values, and rows to look up in them.
#ifndef MTM_TESTS_MODEL_LAYER_MEMORIES_H_
#define MTM_TESTS_MODEL_LAYER_MEMORIES_H_

#include <ATen/Functions.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "memory_store/memory_store.h"
#include "tests/support/model_folder.h"

namespace mtm {

class LayerMemories {
 public:
  static constexpr int kHeads = 2, kDim = 8, kLayer = 3;

  explicit LayerMemories(uint64_t seed) : random_(seed) {}

  MemoryStore& store() { return *store_; }

  std::shared_ptr<const Memory> Make(const std::string& name, int64_t n, DataType dtype = DataType::kF32) {
    const MemorySpec spec{.model_fingerprint = std::string(64, '0'),
                          .layers = {kLayer},
                          .n_head = kHeads,
                          .head_dim = kDim,
                          .dtype = dtype};
    auto writer = store_->Create(name, spec, {{.n_tokens = n, .source = ""}}).value();
    EXPECT_TRUE(writer->BeginWindow(std::vector<int32_t>(static_cast<size_t>(n))).ok());
    for (int head = 0; head < kHeads; ++head) {
      std::vector<float> keys = Random(static_cast<size_t>(n) * kDim);
      if (n > 3) std::copy_n(keys.begin(), kDim, keys.end() - kDim);  // an exact tie
      EXPECT_TRUE(writer->Write(kLayer, head, keys, Random(static_cast<size_t>(n) * kDim)).ok());
    }
    return writer->Commit().value();
  }

  // [kHeads, n, kDim]
  at::Tensor Rows(int n) {
    return at::tensor(Random(static_cast<size_t>(kHeads * n * kDim))).view({kHeads, n, kDim});
  }

 private:
  std::vector<float> Random(size_t n) {
    std::normal_distribution<float> normal;
    std::vector<float> numbers(n);
    for (float& x : numbers) x = normal(random_);
    return numbers;
  }

  std::mt19937_64 random_;
  TemporaryFolder folder_;
  // No index: what is found is exact.
  std::unique_ptr<MemoryStore> store_ =
      MemoryStore::Open(folder_.path(), {.index = {.min_tokens = int64_t{1} << 40}}).value();
};

}  // namespace mtm

#endif  // MTM_TESTS_MODEL_LAYER_MEMORIES_H_
