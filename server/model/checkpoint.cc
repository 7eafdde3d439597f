// SPDX-License-Identifier: Apache-2.0
#include "server/model/checkpoint.h"

#include <algorithm>
#include <set>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "nlohmann/json.hpp"
#include "server/model/fingerprint.h"
#include "server/model/json_file.h"

namespace mtm {
namespace {

namespace fs = std::filesystem;

std::string ShapeText(const std::vector<int64_t>& shape) { return absl::StrCat("[", absl::StrJoin(shape, ", "), "]"); }

// `h.N.attn.bias` and `h.N.attn.masked_bias`: the causal mask, which older checkpoints store.
bool IsMaskBuffer(absl::string_view name) {
  return absl::StartsWith(name, "h.") &&
         (absl::EndsWith(name, ".attn.bias") || absl::EndsWith(name, ".attn.masked_bias"));
}

// The safetensors files of a folder: the single one, or the shards that the index names.
absl::StatusOr<std::vector<fs::path>> CheckpointFiles(const fs::path& folder) {
  const fs::path single = folder / "model.safetensors", index = folder / "model.safetensors.index.json";
  std::error_code error;  // a link to itself is an error
  if (fs::exists(single, error)) return std::vector<fs::path>{single};
  if (!fs::exists(index, error)) {
    return absl::NotFoundError(absl::StrCat(folder.string(), ": has neither model.safetensors nor its index"));
  }
  const auto json = ReadJsonObject(index);
  if (!json.ok()) return json.status();
  if (!json->contains("weight_map") || !(*json)["weight_map"].is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(index.string(), ": no object weight_map"));
  }
  std::set<fs::path> shards;
  for (const auto& [tensor, shard] : (*json)["weight_map"].items()) {
    // A shard lies beside its index: a path would let an index read any file of the machine.
    if (!shard.is_string() || fs::path(shard.get<std::string>()).filename() != shard.get<std::string>()) {
      return absl::InvalidArgumentError(
          absl::StrCat(index.string(), ": weight_map[\"", tensor, "\"] is not the name of a file"));
    }
    shards.insert(folder / shard.get<std::string>());
  }
  return std::vector<fs::path>(shards.begin(), shards.end());
}

// GPT-2's head is its token embedding; a stored one must be the same bytes.
absl::Status CheckTiedHead(const TensorView& head, const std::map<std::string, TensorView>& tensors) {
  const auto wte = tensors.find("wte.weight");
  if (wte != tensors.end() && wte->second.dtype == head.dtype && wte->second.shape == head.shape &&
      std::equal(head.bytes.begin(), head.bytes.end(), wte->second.bytes.begin())) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError("tensor \"lm_head.weight\" differs from wte.weight; only a tied head is supported");
}

// Collects a file's tensors under their names without prefix.
absl::Status AddTensors(const SafetensorsFile& file, std::map<std::string, TensorView>& tensors) {
  for (const auto& [stored_name, view] : file.tensors()) {
    const std::string name(absl::StripPrefix(stored_name, "transformer."));
    if (IsMaskBuffer(name)) continue;
    if (!tensors.emplace(name, view).second) {
      return absl::InvalidArgumentError(absl::StrCat("tensor \"", stored_name, "\" is stored twice"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckTensors(const ModelConfig& config, const std::map<std::string, TensorView>& tensors) {
  const auto expected = ExpectedTensors(config);
  for (const auto& [name, shape] : expected) {
    const auto it = tensors.find(name);
    if (it == tensors.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor \"", name, "\" is missing; config.json asks for shape ", ShapeText(shape)));
    }
    if (it->second.shape != shape) {
      return absl::InvalidArgumentError(absl::StrCat("tensor \"", name, "\" has shape ", ShapeText(it->second.shape),
                                                     "; config.json asks for ", ShapeText(shape)));
    }
    const std::string& dtype = it->second.dtype;
    if (dtype != "F32" && dtype != "F16" && dtype != "BF16") {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor \"", name, "\" has dtype ", dtype, "; only F32, F16 and BF16 are supported"));
    }
  }
  for (const auto& [name, view] : tensors) {
    if (!expected.contains(name)) {
      return absl::InvalidArgumentError(absl::StrCat("tensor \"", name, "\" is unknown to GPT-2"));
    }
  }
  return absl::OkStatus();
}

absl::Status InFolder(const fs::path& folder, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(folder.string(), ": ", status.message()));
}

}  // namespace

std::map<std::string, std::vector<int64_t>> ExpectedTensors(const ModelConfig& config) {
  const int64_t d = config.n_embd, inner = config.n_inner;
  std::map<std::string, std::vector<int64_t>> shapes = {{"wte.weight", {config.vocab_size, d}},
                                                        {"wpe.weight", {config.n_ctx, d}},
                                                        {"ln_f.weight", {d}},
                                                        {"ln_f.bias", {d}}};
  for (int layer = 0; layer < config.n_layer; ++layer) {
    const std::string block = absl::StrCat("h.", layer, ".");
    for (const char* norm : {"ln_1", "ln_2"}) {
      shapes[absl::StrCat(block, norm, ".weight")] = {d};
      shapes[absl::StrCat(block, norm, ".bias")] = {d};
    }
    const auto add_linear = [&](absl::string_view name, int64_t in, int64_t out) {
      shapes[absl::StrCat(block, name, ".weight")] = {in, out};
      shapes[absl::StrCat(block, name, ".bias")] = {out};
    };
    add_linear("attn.c_attn", d, 3 * d);
    add_linear("attn.c_proj", d, d);
    add_linear("mlp.c_fc", d, inner);
    add_linear("mlp.c_proj", inner, d);
  }
  return shapes;
}

absl::StatusOr<Checkpoint> Checkpoint::Open(const fs::path& folder) {
  auto config = ReadModelConfig(folder / "config.json");
  if (!config.ok()) return config.status();
  Checkpoint checkpoint{.config = *config, .tensors = {}, .files = {}, .fingerprint = {}};
  const auto paths = CheckpointFiles(folder);
  if (!paths.ok()) return paths.status();
  for (const fs::path& path : *paths) {
    auto file = SafetensorsFile::Open(path);
    if (!file.ok()) return file.status();
    if (absl::Status status = AddTensors(**file, checkpoint.tensors); !status.ok()) return InFolder(path, status);
    checkpoint.files.push_back(*std::move(file));
  }
  if (const auto head = checkpoint.tensors.find("lm_head.weight"); head != checkpoint.tensors.end()) {
    if (absl::Status status = CheckTiedHead(head->second, checkpoint.tensors); !status.ok()) {
      return InFolder(folder, status);
    }
    checkpoint.tensors.erase(head);
  }
  if (absl::Status status = CheckTensors(*config, checkpoint.tensors); !status.ok()) return InFolder(folder, status);
  checkpoint.fingerprint = Fingerprint(checkpoint.config, checkpoint.tensors,
                                       [](const TensorView& view) { ReleasePages(view.bytes); });
  return checkpoint;
}

}  // namespace mtm
