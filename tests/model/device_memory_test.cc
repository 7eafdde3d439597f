// SPDX-License-Identifier: Apache-2.0
// On the CPU, against the memory's own search and the equations of mix.cc.
#include "server/model/device_memory.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>

#include <thread>
#include <utility>
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

  static void Add(const DeviceMemoryLayer::NewRows& rows) { DeviceMemoryLayer::LookUp({&rows, 1}); }

  // Positions [first, first + n).
  static Tensor Positions(int first, int n) { return at::arange(first, first + n, at::kLong); }

  // All positions are there.
  static void Select(DeviceMemoryLayer& layer, const Tensor& attention, const Tensor& value) {
    layer.Select(attention, at::scalar_tensor(attention.size(1), at::kDouble), value);
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
      Add({&layer, Positions(0, kRows), q, k, v});
      Select(layer, at::full({kHeads, kRows}, 1.0 / kRows), v);
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

TEST_P(DeviceMemoryTest, ThreadsThatWantALayerGetOneCopyOfIt) {
  const auto memory = Make("memory", 2000);
  StoredLayers layers(c10::Device("cpu"));
  EXPECT_EQ(layers.Find(*memory, kLayer), nullptr);
  std::vector<std::shared_ptr<const StoredLayer>> got(6);
  {
    std::vector<std::jthread> threads;
    for (auto& one : got) {
      threads.emplace_back([&] {
        const c10::InferenceMode inference;
        one = layers.Get(*memory, kLayer);
      });
    }
  }
  for (const auto& one : got) EXPECT_EQ(one, layers.Find(*memory, kLayer));
}

// A device with room for two layers.
TEST_P(DeviceMemoryTest, WhatNobodyHoldsMakesRoom) {
  const c10::InferenceMode inference;
  std::vector<std::weak_ptr<const StoredLayer>> copies;
  StoredLayers layers([&](const Memory& memory, int layer) {
    std::erase_if(copies, [](const auto& copy) { return copy.expired(); });
    TORCH_CHECK_WITH(OutOfMemoryError, copies.size() < 2, "the device is full");
    auto copy = std::make_shared<const StoredLayer>(memory, layer, c10::Device("cpu"));
    copies.push_back(copy);
    return copy;
  });
  const std::shared_ptr<const Memory> all[] = {Make("one", 10), Make("two", 10), Make("three", 10)};
  auto held = layers.Get(*all[0], kLayer);
  layers.Get(*all[1], kLayer);
  EXPECT_NE(layers.Find(*all[1], kLayer), nullptr);  // kept though nobody holds it
  const auto third = layers.Get(*all[2], kLayer);
  EXPECT_EQ(layers.Find(*all[1], kLayer), nullptr);
  EXPECT_EQ(layers.Find(*all[0], kLayer), held);
  EXPECT_THROW(layers.Get(*all[1], kLayer), c10::OutOfMemoryError);
  held = nullptr;
  EXPECT_NE(layers.Get(*all[1], kLayer), nullptr);
}

// More rows than are looked up at once, since a large k takes much for each: two sequences' cut into parts
// where neither ends.
TEST_P(DeviceMemoryTest, ManyRowsAreLookedUpInParts) {
  const c10::InferenceMode inference;
  constexpr int kMany = 400, kNeighbours = 3000;
  const auto memory = Make("memory", kNeighbours);
  const MemoryParameters parameters{.k = kNeighbours, .memory_fraction = 1e9, .bookkeeping_fraction = 0};
  const auto stored = std::make_shared<const StoredLayer>(*memory, kLayer, c10::Device("cpu"));
  std::vector<DeviceMemoryLayer> whole, parts;
  std::vector<DeviceMemoryLayer::NewRows> rows;
  for (int i = 0; i < 2; ++i) {
    for (auto* const layers : {&whole, &parts}) {
      layers->emplace_back(MemoryUse{memory, {kLayer}, parameters}, 0, kLayer, stored, kMany,
                           /*trace=*/false);
    }
    rows.push_back(
        {nullptr, Positions(0, kMany), memories_.Rows(kMany), memories_.Rows(kMany), memories_.Rows(kMany)});
  }
  for (size_t i = 0; i < 2; ++i) rows[i].layer = &whole[i];
  DeviceMemoryLayer::LookUp(rows);
  for (size_t i = 0; i < 2; ++i) {
    for (int row = 0; row < kMany; row += 100) {
      const auto part = [row](const Tensor& tensor) { return tensor.narrow(1, row, 100); };
      Add({&parts[i], Positions(row, 100), part(rows[i].query), part(rows[i].key), part(rows[i].value)});
    }
    for (auto* const layers : {&whole, &parts}) {
      Select((*layers)[i], at::full({kHeads, kMany}, 1.0 / kMany), rows[i].value);
    }
    EXPECT_LT((whole[i].mixed_values() - parts[i].mixed_values()).abs().max().item().toDouble(), 1e-6);
  }
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
    rows.push_back(
        {nullptr, Positions(kRows - n, n), memories_.Rows(n), memories_.Rows(n), memories_.Rows(n)});
  }
  for (size_t i = 0; i < rows.size(); ++i) rows[i].layer = &together[i];
  DeviceMemoryLayer::LookUp(rows);
  for (size_t i = 0; i < rows.size(); ++i) {
    DeviceMemoryLayer::NewRows one = rows[i];
    one.layer = &alone[i];
    Add(one);
    const Tensor value = at::zeros({kHeads, kRows, kDim});
    const int64_t n = one.query.size(1);
    Tensor attention = at::zeros({kHeads, kRows});  // of rows that are there
    attention.narrow(1, kRows - n, n).fill_(1);
    std::vector<TraceEntry> traces[2];
    for (const auto& [layer, trace] :
         {std::pair(&together[i], &traces[0]), std::pair(&alone[i], &traces[1])}) {
      Select(*layer, attention, value);
      layer->AppendTrace(*trace);
    }
    EXPECT_LT((together[i].mixed_values() - alone[i].mixed_values()).abs().max().item().toDouble(), 1e-6)
        << i;
    EXPECT_GT(alone[i].mixed_values().abs().max().item().toDouble(), 0) << i;
    ASSERT_EQ(traces[0].size(), static_cast<size_t>(kHeads * n)) << i;
    ASSERT_EQ(traces[1].size(), traces[0].size()) << i;
    for (size_t j = 0; j < traces[0].size(); ++j) {
      EXPECT_EQ(traces[0][j].neighbours, traces[1][j].neighbours) << i << " " << j;
      EXPECT_NEAR(traces[0][j].own_weight, traces[1][j].own_weight, 1e-6) << i << " " << j;
      for (size_t w = 0; w < traces[0][j].weights.size(); ++w)
        EXPECT_NEAR(traces[0][j].weights[w], traces[1][j].weights[w], 1e-6) << i << " " << j;
    }
  }
}

}  // namespace
}  // namespace mtm
