// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_TESTS_SUPPORT_MODEL_FOLDER_H_
#define MTM_TESTS_SUPPORT_MODEL_FOLDER_H_

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "server/model/config.h"
#include "tests/support/safetensors_writer.h"

namespace mtm {

// A folder of its own, removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

void WriteFile(const std::filesystem::path& file, const std::string& bytes);

// config.json of a GPT-2 of this shape.
nlohmann::json ConfigJson(const ModelConfig& config);

// Every tensor of a GPT-2 of this shape under its name without prefix, F32, random.
std::vector<StoredTensor> RandomTensors(const ModelConfig& config, uint64_t seed);

// The same numbers, rounded to `dtype`. A widening one keeps them all.
std::vector<StoredTensor> ConvertTensors(std::vector<StoredTensor> tensors, const std::string& dtype);

std::vector<StoredTensor> AddPrefix(std::vector<StoredTensor> tensors, const std::string& prefix);

// config.json and model.safetensors.
void WriteModelFolder(const std::filesystem::path& folder, const nlohmann::json& config,
                      const std::vector<StoredTensor>& tensors);

// config.json and n_shards files with their index; tensors are dealt out in turn.
void WriteShardedFolder(const std::filesystem::path& folder, const nlohmann::json& config,
                        const std::vector<StoredTensor>& tensors, int n_shards);

}  // namespace mtm

#endif  // MTM_TESTS_SUPPORT_MODEL_FOLDER_H_
