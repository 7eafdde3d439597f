// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_MODEL_CONFIG_H_
#define MTM_SERVER_MODEL_CONFIG_H_

#include <filesystem>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"

namespace mtm {

// GPT-2's shape, as config.json has it.
struct ModelConfig {
  int n_layer = 0;
  int n_head = 0;
  int n_embd = 0;
  int n_ctx = 0;    // n_positions, where the file has that
  int n_inner = 0;  // hidden size of the MLP; 4 * n_embd unless the file says otherwise
  int vocab_size = 0;
  double layer_norm_epsilon = 1e-5;
  std::optional<int> end_of_text;  // eos_token_id

  int head_dim() const { return n_embd / n_head; }

  // Layers where a memory is active when a request names none (METHOD 3): floor(L/2)+1 .. ceil(3L/4).
  std::vector<int> default_layers() const;
};

// NOT_FOUND: no such file. INVALID_ARGUMENT: names the field, its value and what would be right; another
// architecture or activation is refused.
absl::StatusOr<ModelConfig> ReadModelConfig(const std::filesystem::path& file);

}  // namespace mtm

#endif  // MTM_SERVER_MODEL_CONFIG_H_
