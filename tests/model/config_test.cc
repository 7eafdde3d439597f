// SPDX-License-Identifier: Apache-2.0
#include "server/model/config.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/model_folder.h"

namespace mtm {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

absl::StatusOr<ModelConfig> Read(const std::string& text) {
  const TemporaryFolder folder;
  WriteFile(folder.path() / "config.json", text);
  return ReadModelConfig(folder.path() / "config.json");
}

// Small, and every field that may be left out is left out.
json Minimal() {
  return {{"model_type", "gpt2"}, {"n_layer", 2}, {"n_head", 3},
          {"n_embd", 12},         {"n_ctx", 16},  {"vocab_size", 50}};
}

json Changed(const std::string& field, const json& value) {
  json config = Minimal();
  config[field] = value;
  return config;
}

void ExpectFault(const std::string& text, const std::string& field) {
  SCOPED_TRACE(text.substr(0, 200));
  const auto config = Read(text);
  EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument) << config.status();
  EXPECT_THAT(std::string(config.status().message()), HasSubstr(field));
  EXPECT_THAT(std::string(config.status().message()), HasSubstr("config.json"));
  EXPECT_THAT(config.status().message(), SizeIs(testing::Lt(500u)));
}

TEST(ConfigTest, FieldsLeftOutTakeTheirDefaults) {
  const auto config = Read(Minimal().dump());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->n_layer, 2);
  EXPECT_EQ(config->n_head, 3);
  EXPECT_EQ(config->n_embd, 12);
  EXPECT_EQ(config->head_dim(), 4);
  EXPECT_EQ(config->n_ctx, 16);
  EXPECT_EQ(config->n_inner, 48);
  EXPECT_EQ(config->vocab_size, 50);
  EXPECT_EQ(config->layer_norm_epsilon, 1e-5);
  EXPECT_EQ(config->end_of_text, std::nullopt);
}

TEST(ConfigTest, NullIsAsIfLeftOut) {
  json config = Minimal();
  for (const char* field : {"n_inner", "eos_token_id", "layer_norm_epsilon", "activation_function",
                            "n_positions", "scale_attn_weights", "tie_word_embeddings"}) {
    config[field] = nullptr;
  }
  const auto read = Read(config.dump());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->n_inner, 48);
  EXPECT_EQ(read->n_ctx, 16);
}

TEST(ConfigTest, FieldsAreTaken) {
  json full = Minimal();
  full.update({{"n_positions", 20},
               {"n_inner", 7},
               {"eos_token_id", 49},
               {"layer_norm_epsilon", 1},
               {"activation_function", "gelu_pytorch_tanh"},
               {"scale_attn_weights", true},
               {"unknown", {{"a", 1}}}});
  const auto config = Read(full.dump());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->n_ctx, 20) << "n_positions is the size of wpe.weight";
  EXPECT_EQ(config->n_inner, 7);
  EXPECT_EQ(config->end_of_text, 49);
  EXPECT_EQ(config->layer_norm_epsilon, 1);
}

TEST(ConfigTest, AMissingFieldIsNamed) {
  for (const char* field : {"model_type", "n_layer", "n_head", "n_embd", "n_ctx", "vocab_size"}) {
    json config = Minimal();
    config.erase(field);
    ExpectFault(config.dump(), std::string(field) + " is missing");
    ExpectFault(Changed(field, nullptr).dump(), std::string(field) + " is null");
  }
}

TEST(ConfigTest, ADimensionThatIsNoneIsNamed) {
  const std::vector<json> bad = {
      0,       -1,        "12",       12.0,      1.5,  true, json::array({1}), json::object(),
      1 << 25, INT64_MAX, UINT64_MAX, INT64_MIN, 1e300};
  for (const char* field : {"n_layer", "n_head", "n_embd", "n_ctx", "n_positions", "n_inner", "vocab_size"}) {
    for (const json& value : bad) ExpectFault(Changed(field, value).dump(), std::string(field) + " is ");
  }
}

TEST(ConfigTest, AnythingButGpt2IsRefused) {
  const std::vector<std::pair<const char*, json>> faults = {
      {"model_type", "llama"},
      {"model_type", ""},
      {"model_type", 2},
      {"activation_function", "relu"},
      {"activation_function", "gelu"},
      {"activation_function", json::array({"gelu_new"})},
      {"scale_attn_weights", false},
      {"scale_attn_by_inverse_layer_idx", true},
      {"add_cross_attention", true},
      {"tie_word_embeddings", false},
      {"tie_word_embeddings", "yes"}};
  for (const auto& [field, value] : faults)
    ExpectFault(Changed(field, value).dump(), std::string(field) + " is ");
}

TEST(ConfigTest, WidthsThatDoNotFitTheHeadsAreRefused) {
  ExpectFault(Changed("n_head", 5).dump(), "n_embd is 12; expected a multiple of n_head 5");
  ExpectFault(Changed("n_head", 24).dump(), "n_embd is 12");
}

TEST(ConfigTest, AnEndOfTextOutsideTheVocabularyIsRefused) {
  for (const json& value : std::vector<json>{50, -1, "x", 1.0, json::array({49, 3}), UINT64_MAX}) {
    ExpectFault(Changed("eos_token_id", value).dump(), "eos_token_id is ");
  }
}

TEST(ConfigTest, AnEpsilonThatIsNoneIsRefused) {
  for (const json& value : std::vector<json>{0, -1e-5, "1e-5", true, json::array()}) {
    ExpectFault(Changed("layer_norm_epsilon", value).dump(), "layer_norm_epsilon is ");
  }
  // Python's json.dumps writes these; no JSON has them.
  for (const char* number : {"NaN", "Infinity", "-Infinity", "1e999"}) {
    std::string text = Changed("layer_norm_epsilon", "HERE").dump();
    text.replace(text.find("\"HERE\""), 6, number);
    ExpectFault(text, "not a JSON object");
  }
}

TEST(ConfigTest, WhatIsNoJsonObjectIsRefused) {
  for (const char* text :
       {"", " ", "{", "[]", "null", "3", "{\"model_type\": \"gpt2\",}", "\xff\xfe", "{}{}"}) {
    ExpectFault(text, "not a JSON object");
  }
  ExpectFault(std::string(1, '\0'), "not a JSON object");
  ExpectFault(std::string(1'000'000, '['), "not a JSON object");
  ExpectFault("{\"model_type\": \"gpt2\xff\"}", "not a JSON object");
}

TEST(ConfigTest, AFileOfMoreThan4MiBIsRefusedUnread) {
  const std::string text = Minimal().dump();
  EXPECT_TRUE(Read(text + std::string((4 << 20) - text.size(), ' ')).ok());
  ExpectFault(text + std::string((4 << 20) - text.size() + 1, ' '), "longer than 4194304 bytes");
}

TEST(ConfigTest, DeepNestingIsRefusedAndShownShortly) {
  constexpr int kDepth = 1'000'000;
  const std::string nested = std::string(kDepth, '[') + std::string(kDepth, ']');
  for (const char* field : {"model_type", "n_layer", "activation_function", "tie_word_embeddings",
                            "eos_token_id", "layer_norm_epsilon"}) {
    std::string text = Changed(field, "HERE").dump();
    text.replace(text.find("\"HERE\""), 6, nested);
    ExpectFault(text, std::string(field) + " is ");
  }
}

TEST(ConfigTest, LongValuesAreShownShortly) {
  ExpectFault(Changed("model_type", std::string(1'000'000, 'x')).dump(), "model_type is ");
}

TEST(ConfigTest, AFileThatIsMissingIsNotFound) {
  const TemporaryFolder folder;
  const auto missing = ReadModelConfig(folder.path() / "config.json");
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr("config.json"));
  EXPECT_EQ(ReadModelConfig(folder.path()).status().code(), absl::StatusCode::kInvalidArgument) << "a folder";
}

// METHOD 3: floor(L/2)+1 .. ceil(3L/4)
TEST(ConfigTest, DefaultLayersAreTheThirdQuarter) {
  const auto layers = [](int n_layer) { return ModelConfig{.n_layer = n_layer}.default_layers(); };
  EXPECT_THAT(layers(1), ElementsAre(1));
  EXPECT_THAT(layers(2), ElementsAre(2));
  EXPECT_THAT(layers(3), ElementsAre(2, 3));
  EXPECT_THAT(layers(4), ElementsAre(3));
  EXPECT_THAT(layers(6), ElementsAre(4, 5));
  EXPECT_THAT(layers(12), ElementsAre(7, 8, 9));
  EXPECT_THAT(layers(24), ElementsAre(13, 14, 15, 16, 17, 18));
  EXPECT_THAT(layers(36), ElementsAre(19, 20, 21, 22, 23, 24, 25, 26, 27));
  EXPECT_THAT(layers(48), ElementsAre(25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36));
  for (int n_layer = 1; n_layer <= 200; ++n_layer) {
    EXPECT_FALSE(layers(n_layer).empty()) << n_layer;
    EXPECT_LE(layers(n_layer).back(), n_layer);
  }
}

}  // namespace
}  // namespace mtm
