// SPDX-License-Identifier: Apache-2.0
#include "server/model/checkpoint.h"

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/model_folder.h"

namespace mtm {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

using Tensors = std::vector<StoredTensor>;

const ModelConfig kShape{.n_layer = 2, .n_head = 2, .n_embd = 6, .n_ctx = 5, .n_inner = 9, .vocab_size = 11};

Tensors Stored() { return RandomTensors(kShape, 1); }

StoredTensor& Find(Tensors& tensors, const std::string& name) {
  return *std::find_if(tensors.begin(), tensors.end(), [&](const StoredTensor& t) { return t.name == name; });
}

absl::StatusOr<Checkpoint> OpenAs(const Tensors& tensors, const json& config = ConfigJson(kShape)) {
  const TemporaryFolder folder;
  WriteModelFolder(folder.path(), config, tensors);
  return Checkpoint::Open(folder.path());
}

void ExpectFault(const absl::Status& status, const std::string& part,
                 absl::StatusCode code = absl::StatusCode::kInvalidArgument) {
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(part));
}

TEST(CheckpointTest, ATensorOfEveryNameIsThere) {
  const auto checkpoint = OpenAs(Stored());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ(checkpoint->tensors.size(), 4u + 12 * 2);
  EXPECT_THAT(checkpoint->tensors.at("h.1.attn.c_attn.weight").shape, testing::ElementsAre(6, 18));
  EXPECT_THAT(checkpoint->tensors.at("h.0.mlp.c_proj.weight").shape, testing::ElementsAre(9, 6));
}

TEST(CheckpointTest, EachMissingTensorIsNamed) {
  for (const StoredTensor& tensor : Stored()) {
    Tensors tensors = Stored();
    std::erase_if(tensors, [&](const StoredTensor& t) { return t.name == tensor.name; });
    ExpectFault(OpenAs(tensors).status(), "tensor \"" + tensor.name + "\" is missing");
  }
}

TEST(CheckpointTest, EachMisshapenTensorIsNamed) {
  for (const StoredTensor& tensor : Stored()) {
    Tensors tensors = Stored();
    // As many numbers, but a dimension more.
    Find(tensors, tensor.name).shape.push_back(1);
    ExpectFault(OpenAs(tensors).status(), "tensor \"" + tensor.name + "\" has shape [");
  }
}

TEST(CheckpointTest, AWeightStoredTheOtherWayRoundIsRefused) {
  Tensors tensors = Stored();
  std::ranges::reverse(Find(tensors, "h.0.mlp.c_fc.weight").shape);
  ExpectFault(OpenAs(tensors).status(),
              "\"h.0.mlp.c_fc.weight\" has shape [9, 6]; config.json asks for [6, 9]");
}

TEST(CheckpointTest, UnknownTensorsAreNamed) {
  for (const char* name : {"h.2.ln_1.weight", "h.0.ln_3.weight", "h.00.ln_1.weight", "score.weight", "",
                           "attn.bias", "h.0.attn.c_attn.extra", "transformer.transformer.wpe.weight"}) {
    Tensors tensors = Stored();
    tensors.push_back({name, "F32", {1}, "1234"});
    ExpectFault(OpenAs(tensors).status(), "is unknown to GPT-2");
    if (std::string(name) != "transformer.transformer.wpe.weight")
      ExpectFault(OpenAs(tensors).status(), name);
  }
}

TEST(CheckpointTest, TypesThatAreNoFloatsAreNamed) {
  for (const char* dtype : {"I32", "U32"}) {
    Tensors tensors = Stored();
    Find(tensors, "h.1.ln_2.bias").dtype = dtype;
    ExpectFault(OpenAs(tensors).status(), std::string("\"h.1.ln_2.bias\" has dtype ") + dtype);
  }
}

TEST(CheckpointTest, MaskBuffersAreSkipped) {
  for (const char* prefix : {"", "transformer."}) {
    Tensors tensors = Stored();
    tensors.push_back({"h.0.attn.bias", "BOOL", {1, 1, 5, 5}, std::string(25, '\1')});
    tensors.push_back({"h.1.attn.bias", "F32", {1, 1, 1, 1}, "1234"});
    tensors.push_back({"h.1.attn.masked_bias", "F32", {}, "1234"});
    const auto checkpoint = OpenAs(AddPrefix(tensors, prefix));
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    EXPECT_EQ(checkpoint->tensors.size(), 28u);
  }
}

TEST(CheckpointTest, AHeadMustBeTheTokenEmbedding) {
  Tensors tied = Stored();
  tied.push_back(Find(tied, "wte.weight"));
  tied.back().name = "lm_head.weight";
  EXPECT_TRUE(OpenAs(tied).ok());

  const std::vector<std::function<void(StoredTensor&)>> changes = {
      [](StoredTensor& head) { head.bytes.back() = static_cast<char>(head.bytes.back() ^ 1); },
      [](StoredTensor& head) {
        head.shape = {6, 11};
      },
      [](StoredTensor& head) { head.dtype = "I32"; },
      [](StoredTensor& head) {
        head.shape = {10, 6}, head.bytes.resize(10 * 6 * 4);
      }};
  for (const auto& change : changes) {
    Tensors tensors = tied;
    change(tensors.back());
    ExpectFault(OpenAs(tensors).status(), "tensor \"lm_head.weight\"");
  }
  std::erase_if(tied, [](const StoredTensor& t) { return t.name == "wte.weight"; });
  ExpectFault(OpenAs(tied).status(), "wte.weight");
}

TEST(CheckpointTest, OneTensorUnderTwoNamesIsRefused) {
  Tensors tensors = Stored();
  tensors.push_back(Find(tensors, "ln_f.bias"));
  tensors.back().name = "transformer.ln_f.bias";
  ExpectFault(OpenAs(tensors).status(), "ln_f.bias\" is stored twice");
}

TEST(CheckpointTest, ShapesFollowTheConfiguration) {
  for (const char* field : {"n_embd", "n_layer", "n_positions", "n_inner", "vocab_size"}) {
    json config = ConfigJson(kShape);
    config[field] = config[field].get<int>() * 2;
    ExpectFault(OpenAs(Stored(), config).status(), "config.json asks for");
  }
}

// Millions of layers must not be enumerated before the first is missed.
TEST(CheckpointTest, AMonstrousConfigurationEndsInAnError) {
  for (const char* field : {"n_layer", "n_embd", "n_positions", "n_inner", "vocab_size"}) {
    json config = ConfigJson(kShape);
    config[field] = 1 << 24;
    const absl::Status status = OpenAs(Stored(), config).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  }
}

TEST(CheckpointTest, MissingFilesAreNotFound) {
  const TemporaryFolder folder;
  constexpr auto kNotFound = absl::StatusCode::kNotFound;
  ExpectFault(Checkpoint::Open(folder.path() / "absent").status(), "config.json", kNotFound);
  ExpectFault(Checkpoint::Open(folder.path()).status(), "config.json", kNotFound);
  WriteFile(folder.path() / "config.json", ConfigJson(kShape).dump());
  ExpectFault(Checkpoint::Open(folder.path()).status(), "model.safetensors", kNotFound);
}

TEST(CheckpointTest, WeightsThatAreNoFileAreRefused) {
  const TemporaryFolder folder;
  WriteFile(folder.path() / "config.json", ConfigJson(kShape).dump());
  fs::create_symlink("model.safetensors", folder.path() / "model.safetensors");  // to itself
  EXPECT_FALSE(Checkpoint::Open(folder.path()).ok());
  fs::remove(folder.path() / "model.safetensors");
  fs::create_directory(folder.path() / "model.safetensors");
  ExpectFault(Checkpoint::Open(folder.path()).status(), "model.safetensors");
}

TEST(CheckpointTest, ATruncatedFileIsRefused) {
  const TemporaryFolder folder;
  WriteModelFolder(folder.path(), ConfigJson(kShape), Stored());
  const fs::path file = folder.path() / "model.safetensors";
  for (const auto size :
       {fs::file_size(file) - 1, fs::file_size(file) / 2, uintmax_t{20}, uintmax_t{1}, uintmax_t{0}}) {
    fs::resize_file(file, size);
    ExpectFault(Checkpoint::Open(folder.path()).status(), "model.safetensors");
  }
}

TEST(CheckpointTest, ShardsAreReadTogether) {
  const TemporaryFolder folder;
  WriteShardedFolder(folder.path(), ConfigJson(kShape), AddPrefix(Stored(), "transformer."), 3);
  const auto checkpoint = Checkpoint::Open(folder.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ(checkpoint->tensors.size(), 28u);
  EXPECT_EQ(checkpoint->files.size(), 3u);
}

TEST(CheckpointTest, AMissingShardIsNamed) {
  const TemporaryFolder folder;
  WriteShardedFolder(folder.path(), ConfigJson(kShape), Stored(), 3);
  fs::remove(folder.path() / "model-2-of-3.safetensors");
  ExpectFault(Checkpoint::Open(folder.path()).status(), "model-2-of-3.safetensors",
              absl::StatusCode::kNotFound);
}

TEST(CheckpointTest, ATensorInTwoShardsIsNamed) {
  const TemporaryFolder folder;
  WriteShardedFolder(folder.path(), ConfigJson(kShape), Stored(), 2);
  WriteFile(folder.path() / "model-2-of-2.safetensors", SafetensorsFileOf(Stored()));
  ExpectFault(Checkpoint::Open(folder.path()).status(), "is stored twice");
}

TEST(CheckpointTest, AnIndexReadsNothingOutsideItsFolder) {
  const TemporaryFolder folder;
  const fs::path model = folder.path() / "model", index = model / "model.safetensors.index.json";
  WriteShardedFolder(model, ConfigJson(kShape), Stored(), 1);
  fs::copy(model / "model-1-of-1.safetensors", folder.path() / "outside.safetensors");
  for (const std::string& shard :
       {std::string("../outside.safetensors"), (folder.path() / "outside.safetensors").string(),
        std::string("./model-1-of-1.safetensors"), std::string("x/"), std::string("/")}) {
    WriteFile(index, json({{"weight_map", {{"wte.weight", shard}}}}).dump());
    ExpectFault(Checkpoint::Open(model).status(), "weight_map[\"wte.weight\"]");
  }
  for (const char* shard : {"..", ".", ""}) {
    WriteFile(index, json({{"weight_map", {{"wte.weight", shard}}}}).dump());
    EXPECT_FALSE(Checkpoint::Open(model).ok()) << shard;
  }
}

TEST(CheckpointTest, AnIndexThatIsNoneIsRefused) {
  const TemporaryFolder folder;
  WriteFile(folder.path() / "config.json", ConfigJson(kShape).dump());
  for (const char* text : {"{}", R"({"weight_map": []})", R"({"weight_map": {"a": 1}})",
                           R"({"weight_map": {"a": null}})", R"({"weight_map": {"a": ["b"]}})"}) {
    WriteFile(folder.path() / "model.safetensors.index.json", text);
    ExpectFault(Checkpoint::Open(folder.path()).status(), "weight_map");
  }
  for (const char* text : {"", "[]", "{"}) {
    WriteFile(folder.path() / "model.safetensors.index.json", text);
    ExpectFault(Checkpoint::Open(folder.path()).status(), "not a JSON object");
  }
  WriteFile(folder.path() / "model.safetensors.index.json", R"({"weight_map": {}})");
  ExpectFault(Checkpoint::Open(folder.path()).status(), "is missing");
}

}  // namespace
}  // namespace mtm
