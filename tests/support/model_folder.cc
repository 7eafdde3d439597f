// SPDX-License-Identifier: Apache-2.0
#include "tests/support/model_folder.h"

#include <stdlib.h>

#include <fstream>
#include <functional>
#include <numeric>
#include <random>

#include "absl/strings/str_cat.h"
#include "server/model/checkpoint.h"

namespace mtm {

namespace fs = std::filesystem;

TemporaryFolder::TemporaryFolder() {
  std::string pattern = (fs::temp_directory_path() / "mtm_test.XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) std::abort();
  path_ = pattern;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

void WriteFile(const fs::path& file, const std::string& bytes) {
  std::ofstream stream(file, std::ios::binary);
  stream.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  stream.close();
  if (!stream) std::abort();
}

nlohmann::json ConfigJson(const ModelConfig& config) {
  nlohmann::json json = {{"architectures", {"GPT2LMHeadModel"}},
                         {"model_type", "gpt2"},
                         {"activation_function", "gelu_new"},
                         {"n_layer", config.n_layer},
                         {"n_head", config.n_head},
                         {"n_embd", config.n_embd},
                         {"n_positions", config.n_ctx},
                         {"n_inner", config.n_inner},
                         {"vocab_size", config.vocab_size},
                         {"layer_norm_epsilon", config.layer_norm_epsilon}};
  if (config.end_of_text) json["eos_token_id"] = *config.end_of_text;
  return json;
}

std::vector<StoredTensor> RandomTensors(const ModelConfig& config, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0, 0.3f);
  std::vector<StoredTensor> tensors;
  for (const auto& [name, shape] : ExpectedTensors(config)) {
    const auto count = std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = normal(random);
    tensors.push_back({name, "F32", shape, Encode("F32", values)});
  }
  return tensors;
}

std::vector<StoredTensor> ConvertTensors(std::vector<StoredTensor> tensors, const std::string& dtype) {
  for (StoredTensor& tensor : tensors) {
    tensor.bytes = Encode(dtype, Decode(tensor.dtype, tensor.bytes));
    tensor.dtype = dtype;
  }
  return tensors;
}

std::vector<StoredTensor> AddPrefix(std::vector<StoredTensor> tensors, const std::string& prefix) {
  for (StoredTensor& tensor : tensors) tensor.name = prefix + tensor.name;
  return tensors;
}

void WriteModelFolder(const fs::path& folder, const nlohmann::json& config,
                      const std::vector<StoredTensor>& tensors) {
  fs::create_directories(folder);
  WriteFile(folder / "config.json", config.dump());
  WriteFile(folder / "model.safetensors", SafetensorsFileOf(tensors));
}

void WriteShardedFolder(const fs::path& folder, const nlohmann::json& config,
                        const std::vector<StoredTensor>& tensors, int n_shards) {
  fs::create_directories(folder);
  WriteFile(folder / "config.json", config.dump());
  nlohmann::json index = {{"metadata", nlohmann::json::object()}, {"weight_map", nlohmann::json::object()}};
  for (int shard = 0; shard < n_shards; ++shard) {
    const std::string file = absl::StrCat("model-", shard + 1, "-of-", n_shards, ".safetensors");
    std::vector<StoredTensor> part;
    for (size_t i = static_cast<size_t>(shard); i < tensors.size(); i += static_cast<size_t>(n_shards)) {
      part.push_back(tensors[i]);
      index["weight_map"][tensors[i].name] = file;
    }
    WriteFile(folder / file, SafetensorsFileOf(part));
  }
  WriteFile(folder / "model.safetensors.index.json", index.dump());
}

}  // namespace mtm
