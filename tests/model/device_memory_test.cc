// SPDX-License-Identifier: Apache-2.0
// On the CPU, against the memory's own search and the equations of mix.cc.
#include "server/model/device_memory.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/InferenceMode.h>

#include <vector>

#include "gtest/gtest.h"
#include "server/model/mix.h"
#include "tests/model/layer_memories.h"
#include "tests/model/random_seed.h"

namespace mtm {
namespace {

using at::Tensor;

constexpr int kHeads = LayerMemories::kHeads, kDim = LayerMemories::kDim, kLayer = LayerMemories::kLayer;
constexpr int kRows = 5;

class DeviceMemoryTest : public testing::TestWithParam<DataType> {
 protected:
  std::shared_ptr<const Memory> Make(const std::string& name, int64_t n) {
    return memories_.Make(name, n, GetParam());
  }

  static void Add(const DeviceMemoryLayer::NewRows& rows) {
    rows.layer->SetRows(rows);
    DeviceMemoryLayer::LookUp({&rows, 1});
  }

  LayerMemories memories_{RandomSeed(11)};
};

INSTANTIATE_TEST_SUITE_P(DataTypes, DeviceMemoryTest, testing::Values(DataType::kF32, DataType::kF16),
                         [](const auto& test) { return NameOf(test.param); });

TEST_P(DeviceMemoryTest, FindsAndMixesWhatTheMemoryAndTheEquationsDo) {
  const c10::InferenceMode inference;
  int part = 0;
  for (const int64_t n : {1, 4, 300, 70'000}) {  // the last in two parts
    const auto memory = Make("memory" + std::to_string(part++), n);
    const auto stored = std::make_shared<const StoredLayer>(*memory, kLayer, c10::Device("cpu"));
    for (const Method method : {Method::kType1, Method::kType2, Method::kType3}) {
      const MemoryParameters parameters{
          .method = method, .k = 5, .memory_fraction = 1e9, .bookkeeping_fraction = 0, .score_scale = 0.7};
      DeviceMemoryLayer layer({memory, {kLayer}, parameters}, 0, kLayer, stored, kRows, /*trace=*/true);
      const Tensor q = memories_.Rows(kRows), k = memories_.Rows(kRows), v = memories_.Rows(kRows);
      Add({&layer, 0, q, k, v});
      layer.Select(at::full({kHeads, kRows}, 1.0 / kRows), v);
      EXPECT_EQ(layer.FirstChanged(), 0);
      EXPECT_EQ(layer.n_selected().item().toLong(), kHeads * kRows);
      std::vector<TraceEntry> trace;
      layer.AppendTrace(trace);
      ASSERT_EQ(trace.size(), static_cast<size_t>(kHeads * kRows));
      for (const TraceEntry& entry : trace) {
        const auto row = [&](const Tensor& rows) {
          return std::span<const float>(rows[entry.head][entry.position].const_data_ptr<float>(), kDim);
        };
        const std::vector<Neighbour> near = memory->Search(kLayer, entry.head, row(k), parameters.k);
        ASSERT_EQ(entry.neighbours, near) << n << " " << entry.head << " " << entry.position;
        std::vector<float> keys(near.size() * kDim), values(near.size() * kDim), mixed(kDim);
        memory->Gather(kLayer, entry.head, near, keys, values);
        const Mix mix = RankAndMix(parameters, {row(q), row(k), row(v)}, keys, values, mixed);
        EXPECT_NEAR(entry.own_weight, mix.own_weight, 1e-6);
        for (size_t i = 0; i < near.size(); ++i) EXPECT_NEAR(entry.weights[i], mix.weights[i], 1e-6);
        for (size_t i = 0; i < kDim; ++i) EXPECT_NEAR(row(layer.mixed_values())[i], mixed[i], 1e-6);
      }
    }
  }
}

TEST_P(DeviceMemoryTest, WhatIsKeptForOthersGoesWithTheMemory) {
  const c10::InferenceMode inference;
  auto one = Make("one", 20);
  const auto other = Make("other", 20);
  StoredLayers layers(c10::Device("cpu"));
  const std::weak_ptr<const StoredLayer> stored = layers.Get(*one, kLayer);
  EXPECT_FALSE(stored.expired());
  EXPECT_EQ(layers.Get(*memories_.store().Get("one").value(), kLayer), stored.lock());
  EXPECT_NE(layers.Get(*other, kLayer), stored.lock());
  one = nullptr;
  ASSERT_TRUE(memories_.store().Delete("one").ok());
  layers.Get(*other, kLayer);
  EXPECT_TRUE(stored.expired());
}

// More rows than are looked up at once: a large k takes much for each.
TEST_P(DeviceMemoryTest, ManyRowsAreLookedUpInParts) {
  const c10::InferenceMode inference;
  constexpr int kMany = 400, kNeighbours = 3000;
  const auto memory = Make("memory", kNeighbours);
  const MemoryParameters parameters{.k = kNeighbours, .memory_fraction = 1e9, .bookkeeping_fraction = 0};
  const auto stored = std::make_shared<const StoredLayer>(*memory, kLayer, c10::Device("cpu"));
  const Tensor q = memories_.Rows(kMany), k = memories_.Rows(kMany), v = memories_.Rows(kMany);
  DeviceMemoryLayer whole({memory, {kLayer}, parameters}, 0, kLayer, stored, kMany, /*trace=*/false),
      parts({memory, {kLayer}, parameters}, 0, kLayer, stored, kMany, /*trace=*/false);
  Add({&whole, 0, q, k, v});
  for (int row = 0; row < kMany; row += 100) {
    Add({&parts, row, q.narrow(1, row, 100), k.narrow(1, row, 100), v.narrow(1, row, 100)});
  }
  for (DeviceMemoryLayer* layer : {&whole, &parts}) layer->Select(at::full({kHeads, kMany}, 1.0 / kMany), v);
  EXPECT_LT((whole.mixed_values() - parts.mixed_values()).abs().max().item().toDouble(), 1e-6);
}

// Rows of several sequences, some with another memory, k or method, as one by one.
TEST_P(DeviceMemoryTest, SequencesAreLookedUpTogetherAsAlone) {
  const c10::InferenceMode inference;
  const std::shared_ptr<const Memory> memories[] = {Make("one", 300), Make("other", 40)};
  StoredLayers stored(c10::Device("cpu"));
  std::vector<DeviceMemoryLayer> together, alone;
  std::vector<DeviceMemoryLayer::NewRows> rows;
  for (int i = 0; i < 12; ++i) {
    const auto& memory = memories[i % 2];
    const MemoryParameters parameters{.method = i % 3 == 0 ? Method::kType2 : Method::kType3,
                                      .k = i % 4 == 0 ? 3 : 5,
                                      .memory_fraction = 1e9,
                                      .bookkeeping_fraction = 0};
    for (auto* const layers : {&together, &alone}) {
      layers->emplace_back(MemoryUse{memory, {kLayer}, parameters}, 0, kLayer, stored.Get(*memory, kLayer),
                           kRows,
                           /*trace=*/true);
    }
    const int n = 1 + i % kRows;
    rows.push_back({nullptr, kRows - n, memories_.Rows(n), memories_.Rows(n), memories_.Rows(n)});
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].layer = &together[i];
    together[i].SetRows(rows[i]);
  }
  DeviceMemoryLayer::LookUp(rows);
  for (size_t i = 0; i < rows.size(); ++i) {
    DeviceMemoryLayer::NewRows one = rows[i];
    one.layer = &alone[i];
    Add(one);
    const Tensor value = at::zeros({kHeads, kRows, kDim});
    const int n = static_cast<int>(one.query.size(1));
    for (auto* const layers : {&together, &alone})
      (*layers)[i].Select(at::full({kHeads, kRows}, 1.0 / kRows), value);
    const auto mixed = [&](const DeviceMemoryLayer& layer) {
      return layer.mixed_values().narrow(1, kRows - n, n);
    };
    EXPECT_LT((mixed(together[i]) - mixed(alone[i])).abs().max().item().toDouble(), 1e-6) << i;
    EXPECT_GT(mixed(alone[i]).abs().max().item().toDouble(), 0) << i;
  }
}

}  // namespace
}  // namespace mtm
