// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_MODEL_INFO_H_
#define MTM_SERVER_RPC_MODEL_INFO_H_

#include <cstddef>
#include <string>

#include "server/model/config.h"
#include "server/text/tokenizer.h"

namespace mtm {

// What the door has to know of the model.
struct ModelInfo {
  ModelConfig config;
  std::string fingerprint;
  const Tokenizer* tokenizer = nullptr;  // null: token ids only
  size_t longest_token_bytes = 1;

  static ModelInfo Of(const ModelConfig& config, std::string fingerprint, const Tokenizer* tokenizer);
};

}  // namespace mtm

#endif  // MTM_SERVER_RPC_MODEL_INFO_H_
