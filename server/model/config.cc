// SPDX-License-Identifier: Apache-2.0
#include "server/model/config.h"

#include <cmath>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"
#include "server/model/json_file.h"

namespace mtm {
namespace {

using Json = nlohmann::json;

constexpr int kMaxDimension = 1 << 24;
// Tensors are enumerated by layer before the first is missed.
constexpr int kMaxLayers = 4096;

// Reads fields of one config.json; the first fault stays.
class FieldReader {
 public:
  FieldReader(const Json& json, std::string file) : json_(json), file_(std::move(file)) {}

  void Fault(absl::string_view field, absl::string_view expected) {
    if (!status_.ok()) return;
    const std::string key(field);
    const std::string value = json_.contains(key) ? ShowJson(json_[key]) : "missing";
    status_ = absl::InvalidArgumentError(absl::StrCat(file_, ": ", field, " is ", value, "; ", expected));
  }

  bool Has(const std::string& field) const { return json_.contains(field) && !json_[field].is_null(); }

  int Dimension(const std::string& field, int max = kMaxDimension) {
    if (!Has(field) || !json_[field].is_number_integer() || json_[field] < 1 || json_[field] > max) {
      Fault(field, absl::StrCat("expected an integer in 1..", max));
      return 1;
    }
    return json_[field].get<int>();
  }

  // The reference's forward pass knows no other value.
  void Require(const std::string& field, const Json& only) {
    if (Has(field) && json_[field] != only) Fault(field, absl::StrCat("only ", only.dump(), " is supported"));
  }

  const Json& operator[](const std::string& field) const { return json_[field]; }
  const absl::Status& status() const { return status_; }

 private:
  const Json& json_;
  std::string file_;
  absl::Status status_;
};

double ReadEpsilon(FieldReader& fields) {
  if (!fields.Has("layer_norm_epsilon")) return 1e-5;
  const Json& value = fields["layer_norm_epsilon"];
  if (!value.is_number() || !(value.get<double>() > 0) || !std::isfinite(value.get<double>())) {
    fields.Fault("layer_norm_epsilon", "expected a number above 0");
    return 1e-5;
  }
  return value.get<double>();
}

void CheckArchitecture(FieldReader& fields) {
  if (!fields.Has("model_type") || fields["model_type"] != "gpt2") {
    fields.Fault("model_type", "only \"gpt2\" is supported");
  }
  if (fields.Has("activation_function") && fields["activation_function"] != "gelu_new" &&
      fields["activation_function"] != "gelu_pytorch_tanh") {
    fields.Fault("activation_function", "only \"gelu_new\" is supported");
  }
  fields.Require("scale_attn_weights", true);
  fields.Require("scale_attn_by_inverse_layer_idx", false);
  fields.Require("add_cross_attention", false);
  fields.Require("tie_word_embeddings", true);
}

}  // namespace

std::vector<int> ModelConfig::default_layers() const {
  std::vector<int> layers;
  for (int layer = n_layer / 2 + 1; layer <= (3 * n_layer + 3) / 4; ++layer) layers.push_back(layer);
  return layers;
}

absl::StatusOr<ModelConfig> ReadModelConfig(const std::filesystem::path& file) {
  const auto json = ReadJsonObject(file);
  if (!json.ok()) return json.status();
  FieldReader fields(*json, file.string());
  CheckArchitecture(fields);
  ModelConfig config;
  config.n_layer = fields.Dimension("n_layer", kMaxLayers);
  config.n_head = fields.Dimension("n_head");
  config.n_embd = fields.Dimension("n_embd");
  config.n_ctx = fields.Dimension(fields.Has("n_positions") ? "n_positions" : "n_ctx");
  config.n_inner = fields.Has("n_inner") ? fields.Dimension("n_inner") : 4 * config.n_embd;
  config.vocab_size = fields.Dimension("vocab_size");
  config.layer_norm_epsilon = ReadEpsilon(fields);
  if (config.n_embd % config.n_head != 0) {
    fields.Fault("n_embd", absl::StrCat("expected a multiple of n_head ", config.n_head));
  }
  if (fields.Has("eos_token_id")) {
    const Json& id = fields["eos_token_id"];
    if (!id.is_number_integer() || id < 0 || id >= config.vocab_size) {
      fields.Fault("eos_token_id", absl::StrCat("expected an integer in 0..", config.vocab_size - 1));
    } else {
      config.end_of_text = id.get<int>();
    }
  }
  if (!fields.status().ok()) return fields.status();
  return config;
}

}  // namespace mtm
