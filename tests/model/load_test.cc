// SPDX-License-Identifier: Apache-2.0
// The ways of storing one set of weights: what they share, fingerprint and logits, and what tells them apart.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <functional>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/model/model.h"
#include "server/model/sequence.h"
#include "server/model/threads.h"
#include "tests/support/model_folder.h"

namespace mtm {
namespace {

using nlohmann::json;
using Tensors = std::vector<StoredTensor>;

const ModelConfig kShape{.n_layer = 2, .n_head = 2, .n_embd = 8, .n_ctx = 6, .n_inner = 20, .vocab_size = 13};

struct Loaded {
  std::string fingerprint;
  std::vector<float> logits;
  int64_t parameter_count;
};

Loaded LoadFrom(const std::filesystem::path& folder) {
  SetModelThreads(1);
  auto model = Model::Load(folder);
  EXPECT_TRUE(model.ok()) << model.status();
  if (!model.ok()) return {};
  std::filesystem::remove_all(folder);  // mapped, and no longer needed by name
  Sequence sequence(**model, {.capacity = 6});
  sequence.Append(std::vector<int32_t>{3, 12, 0, 7, 7});
  Sequence* const batch[] = {&sequence};
  EXPECT_TRUE((*model)->Step(batch).ok());
  return {(*model)->fingerprint(),
          {sequence.logits().begin(), sequence.logits().end()},
          (*model)->parameter_count()};
}

Loaded LoadTensors(const Tensors& tensors, const json& config = ConfigJson(kShape)) {
  const TemporaryFolder folder;
  WriteModelFolder(folder.path() / "model", config, tensors);
  return LoadFrom(folder.path() / "model");
}

Loaded LoadSharded(const Tensors& tensors, int n_shards) {
  const TemporaryFolder folder;
  WriteShardedFolder(folder.path() / "model", ConfigJson(kShape), tensors, n_shards);
  return LoadFrom(folder.path() / "model");
}

Tensors Stored(const std::string& dtype) { return ConvertTensors(RandomTensors(kShape, 1), dtype); }

Tensors WithHead(Tensors tensors, const std::string& prefix = "") {
  for (const StoredTensor& tensor : Tensors(tensors)) {
    if (tensor.name.ends_with("wte.weight"))
      tensors.push_back({prefix + "lm_head.weight", tensor.dtype, tensor.shape, tensor.bytes});
  }
  return tensors;
}

void ExpectSame(const Loaded& a, const Loaded& b) {
  EXPECT_EQ(a.fingerprint, b.fingerprint);
  EXPECT_EQ(a.logits, b.logits);
  EXPECT_EQ(a.parameter_count, b.parameter_count);
}

TEST(LoadTest, EveryWayOfStoringTheSameWeightsIsTheSameModel) {
  for (const char* dtype : {"F32", "F16", "BF16"}) {
    SCOPED_TRACE(dtype);
    const Tensors tensors = Stored(dtype), prefixed = AddPrefix(tensors, "transformer.");
    const Loaded plain = LoadTensors(tensors);
    EXPECT_THAT(plain.fingerprint, testing::SizeIs(64));
    EXPECT_THAT(plain.logits, testing::SizeIs(13));
    ExpectSame(LoadTensors(prefixed), plain);
    ExpectSame(LoadTensors(WithHead(tensors)), plain);
    ExpectSame(LoadTensors(WithHead(prefixed)), plain);
    ExpectSame(LoadSharded(tensors, 1), plain);
    ExpectSame(LoadSharded(prefixed, 4), plain);
    ExpectSame(LoadTensors(Tensors(tensors.rbegin(), tensors.rend())), plain);
    Tensors with_masks = tensors;
    with_masks.push_back({"h.0.attn.bias", "BOOL", {1, 1, 1, 1}, "\1"});
    ExpectSame(LoadTensors(with_masks), plain);
  }
}

// One, two and three bytes in front of everything: the format promises no alignment.
TEST(LoadTest, DataMayLieUnaligned) {
  for (const char* dtype : {"F32", "F16", "BF16"}) {
    const Loaded plain = LoadTensors(Stored(dtype));
    for (const size_t n_bytes : {1, 2, 3}) {
      Tensors tensors = Stored(dtype);
      tensors.insert(tensors.begin(), {"h.0.attn.bias", "U8", {int64_t(n_bytes)}, std::string(n_bytes, 'x')});
      ExpectSame(LoadTensors(tensors), plain);
    }
  }
}

TEST(LoadTest, SixteenBitsComputeAsTheSameNumbersInFloat32) {
  for (const char* dtype : {"F16", "BF16"}) {
    const Loaded narrow = LoadTensors(Stored(dtype)),
                 wide = LoadTensors(ConvertTensors(Stored(dtype), "F32"));
    EXPECT_EQ(narrow.logits, wide.logits) << dtype;
    EXPECT_NE(narrow.fingerprint, wide.fingerprint) << dtype;
  }
  EXPECT_NE(LoadTensors(Stored("F16")).logits, LoadTensors(Stored("F32")).logits);
}

TEST(LoadTest, TypesMayBeMixed) {
  Tensors tensors = Stored("BF16"), wide = ConvertTensors(tensors, "F32");
  for (size_t i = 0; i < tensors.size(); i += 2) tensors[i] = wide[i];
  EXPECT_EQ(LoadTensors(tensors).logits, LoadTensors(wide).logits);
}

TEST(LoadTest, OneBitOfAnyTensorMakesAnotherFingerprint) {
  const std::string plain = LoadTensors(Stored("F16")).fingerprint;
  for (size_t i = 0; i < Stored("F16").size(); ++i) {
    Tensors tensors = Stored("F16");
    tensors[i].bytes.front() = static_cast<char>(tensors[i].bytes.front() ^ 1);
    EXPECT_NE(LoadTensors(tensors).fingerprint, plain) << tensors[i].name;
  }
}

TEST(LoadTest, WhatChangesTheComputationMakesAnotherFingerprint) {
  const Tensors tensors = Stored("F32");
  const std::string plain = LoadTensors(tensors).fingerprint;
  for (const auto& [field, value] : std::vector<std::pair<const char*, json>>{
           {"n_head", 4}, {"layer_norm_epsilon", 1e-6}, {"layer_norm_epsilon", 1.00000001e-5}}) {
    json config = ConfigJson(kShape);
    config[field] = value;
    EXPECT_NE(LoadTensors(tensors, config).fingerprint, plain) << field << " " << value;
  }
  json config = ConfigJson(kShape);
  config["eos_token_id"] = 3;
  config["architectures"] = json::array();
  EXPECT_EQ(LoadTensors(tensors, config).fingerprint, plain);
}

TEST(LoadTest, ParametersAreCountedOnce) {
  EXPECT_EQ(LoadTensors(WithHead(Stored("F32"))).parameter_count,
            13 * 8 + 6 * 8 + 2 * 8 + 2 * (4 * 8 + 8 * 24 + 24 + 8 * 8 + 8 + 8 * 20 + 20 + 20 * 8 + 8));
}

TEST(LoadTest, ADeviceThatIsNoneIsRefused) {
  const TemporaryFolder folder;
  WriteModelFolder(folder.path(), ConfigJson(kShape), Stored("F32"));
  for (const char* device : {"", "gpu", "cpu:x", "cuda", "cuda:", "cuda:-1", "cuda:x", "meta", "xpu:0"}) {
    EXPECT_EQ(Model::Load(folder.path(), device).status().code(), absl::StatusCode::kInvalidArgument)
        << device;
  }
  EXPECT_EQ(Model::Load(folder.path(), "cuda:63").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(Model::Load(folder.path(), "cpu").ok());
}

// Logits of rounded weights are near those of the checkpoint's, and not the same.
TEST(LoadTest, WeightsAreKeptAsAskedFor) {
  const TemporaryFolder folder;
  WriteModelFolder(folder.path(), ConfigJson(kShape), Stored("F32"));
  const auto logits = [&](WeightType type) {
    const auto model = Model::Load(folder.path(), type == WeightType::kBF16 ? "torch" : "cpu", type).value();
    EXPECT_EQ(model->weight_type(), type);
    Sequence sequence(*model, {.capacity = 6});
    sequence.Append(std::vector<int32_t>{3, 12, 0, 7, 7});
    Sequence* const batch[] = {&sequence};
    EXPECT_TRUE(model->Step(batch).ok());
    return std::vector<float>(sequence.logits().begin(), sequence.logits().end());
  };
  const std::vector<float> exact = logits(WeightType::kF32);
  const auto [least, most] = std::ranges::minmax(exact);
  for (const auto& [type, allowed] :
       {std::pair(WeightType::kF16, 0.002f), std::pair(WeightType::kInt8, 0.05f),
        std::pair(WeightType::kBF16, 0.02f)}) {
    const std::vector<float> rounded = logits(type);
    float largest = 0;
    for (size_t i = 0; i < exact.size(); ++i) largest = std::max(largest, std::abs(exact[i] - rounded[i]));
    EXPECT_GT(largest, 0) << NameOf(type);
    EXPECT_LT(largest, allowed * (most - least)) << NameOf(type);
    const char* const other = type == WeightType::kBF16 ? "cpu" : "torch";
    EXPECT_EQ(Model::Load(folder.path(), other, type).status().code(), absl::StatusCode::kFailedPrecondition)
        << NameOf(type);
  }
}

TEST(LoadTest, RandomWeightsComeFromTheirSeed) {
  const auto fingerprint = [](uint64_t seed) { return (*Model::Random(kShape, seed))->fingerprint(); };
  EXPECT_EQ(fingerprint(1), fingerprint(1));
  EXPECT_NE(fingerprint(1), fingerprint(2));
}

int CountThreads() {
  using Iterator = std::filesystem::directory_iterator;
  return static_cast<int>(std::distance(Iterator("/proc/self/task"), Iterator()));
}

// Threads of a team that stays would make those of the steps go to sleep between their pieces.
TEST(LoadTest, NoThreadsStayBehind) {
  const TemporaryFolder folder;
  const ModelConfig shape{
      .n_layer = 2, .n_head = 2, .n_embd = 256, .n_ctx = 6, .n_inner = 1024, .vocab_size = 4096};
  WriteModelFolder(folder.path() / "model", ConfigJson(shape), RandomTensors(shape, 1));
  SetModelThreads(4);
  const int before = CountThreads();
  const auto model = Model::Load(folder.path() / "model");
  const auto other = Model::Random(shape, 1);
  SetModelThreads(1);
  ASSERT_TRUE(model.ok() && other.ok());
  // They end a moment after the one that used them.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (CountThreads() > before && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  EXPECT_EQ(CountThreads(), before);
}

}  // namespace
}  // namespace mtm
