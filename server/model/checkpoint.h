// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_MODEL_CHECKPOINT_H_
#define MTM_SERVER_MODEL_CHECKPOINT_H_

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/model/config.h"
#include "server/model/safetensors.h"

namespace mtm {

// A Hugging Face GPT-2 folder: its configuration, and every tensor that GPT-2 needs, checked for type and shape.
struct Checkpoint {
  ModelConfig config;
  // By name without the `transformer.` prefix: wte.weight, wpe.weight, h.N.(ln_1|ln_2|attn.c_attn|attn.c_proj|
  // mlp.c_fc|mlp.c_proj).(weight|bias), ln_f.(weight|bias). F32, F16 or BF16. The tied head and mask buffers are
  // left out.
  std::map<std::string, TensorView> tensors;
  std::vector<std::shared_ptr<const SafetensorsFile>> files;  // what the views point into
  std::string fingerprint;                                    // Model::fingerprint

  // NOT_FOUND: config.json, model.safetensors, its index or one of its shards is missing. INVALID_ARGUMENT: names
  // the tensor or field: missing, misshapen, of another type, unknown, or stored twice; a head that is not tied.
  static absl::StatusOr<Checkpoint> Open(const std::filesystem::path& folder);
};

// The shapes that a configuration asks for, by name.
std::map<std::string, std::vector<int64_t>> ExpectedTensors(const ModelConfig& config);

}  // namespace mtm

#endif  // MTM_SERVER_MODEL_CHECKPOINT_H_
