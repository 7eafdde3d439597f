// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/model_info.h"

#include <algorithm>

namespace mtm {

ModelInfo ModelInfo::Of(const ModelConfig& config, std::string fingerprint, const Tokenizer* tokenizer) {
  ModelInfo info{config, std::move(fingerprint), tokenizer, 1};
  if (tokenizer == nullptr) return info;
  for (int32_t id = 0; id < tokenizer->vocabulary_size(); ++id) {
    info.longest_token_bytes = std::max(info.longest_token_bytes, tokenizer->TokenBytes(id).size());
  }
  return info;
}

}  // namespace mtm
