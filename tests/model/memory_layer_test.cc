// SPDX-License-Identifier: Apache-2.0
// What sequences look up together.
#include "server/model/memory_layer.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/InferenceMode.h>

#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "tests/model/layer_memories.h"
#include "tests/model/random_seed.h"

namespace mtm {
namespace {

using at::Tensor;

constexpr int kHeads = LayerMemories::kHeads, kDim = LayerMemories::kDim, kLayer = LayerMemories::kLayer;
constexpr int kRows = 5;

class MemoryLayerTest : public testing::Test {
 protected:
  // All tokens-heads of a sequence are selected and not looked up.
  MemoryLayer::Missing Missing(const std::shared_ptr<const Memory>& memory,
                               const MemoryParameters& parameters) {
    layers_.push_back(std::make_unique<MemoryLayer>(MemoryUse{memory, {kLayer}, parameters}, 0, kLayer,
                                                    kHeads, kRows, kDim, at::kFloat, /*trace=*/false));
    MemoryLayer& layer = *layers_.back();
    const Tensor key = memories_.Rows(kRows), value = memories_.Rows(kRows);
    layer.SetRows(0, memories_.Rows(kRows), value);
    layer.Select(std::vector<float>(kHeads * kRows, 1.0f / kRows));
    EXPECT_EQ(layer.n_missing(), static_cast<size_t>(kHeads * kRows));
    return {&layer, key, value};
  }

  const c10::InferenceMode inference_;
  LayerMemories memories_{RandomSeed(12)};
  std::vector<std::unique_ptr<MemoryLayer>> layers_;
  const MemoryParameters all_{.k = 3, .memory_fraction = 1e9, .bookkeeping_fraction = 0};
};

// Each request asks the store for its memory.
TEST_F(MemoryLayerTest, SequencesOfRequestsThatUseOneMemoryAreOneSearchAHead) {
  memories_.Make("one", 50);
  memories_.Make("other", 50);
  const auto get = [&](const char* name) { return memories_.store().Get(name).value(); };
  const std::shared_ptr<const Memory> first = get("one"), second = get("one");
  ASSERT_NE(first, second);
  std::vector<MemoryLayer::Missing> all = {Missing(first, all_), Missing(second, all_)};
  EXPECT_EQ(MemoryLayer::LookUp(all), kHeads);
  MemoryParameters more = all_;
  more.k = 4;
  all = {Missing(first, all_), Missing(get("other"), all_), Missing(second, more), Missing(second, all_)};
  EXPECT_EQ(MemoryLayer::LookUp(all), 3 * kHeads);
}

TEST_F(MemoryLayerTest, WhatASequenceGetsIsWhatItGetsAlone) {
  memories_.Make("one", 50);
  std::vector<MemoryLayer::Missing> together;
  for (int i = 0; i < 20; ++i) together.push_back(Missing(memories_.store().Get("one").value(), all_));
  std::vector<Tensor> mixed;
  for (const MemoryLayer::Missing& one : together) {
    MemoryLayer layer = *one.layer;
    layer.Unshare();
    const MemoryLayer::Missing missing[] = {{&layer, one.key, one.value}};
    MemoryLayer::LookUp(missing);
    EXPECT_EQ(layer.Apply(one.value), 0);
    mixed.push_back(layer.mixed_values());
    EXPECT_FALSE(at::equal(mixed.back(), one.value));
  }
  MemoryLayer::LookUp(together);
  for (size_t i = 0; i < together.size(); ++i) {
    together[i].layer->Apply(together[i].value);
    EXPECT_TRUE(at::equal(together[i].layer->mixed_values(), mixed[i])) << i;
  }
}

}  // namespace
}  // namespace mtm
