// SPDX-License-Identifier: Apache-2.0
// A model's config.json, and the shapes that it asks for.
#include "server/model/config.h"

#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static mtm::AnonymousFile file;
  file.Write(mtm::Text(data, size));
  const auto config = mtm::ReadModelConfig(file.path());
  if (!config.ok()) return 0;
  mtm::Require(config->n_layer >= 1 && config->head_dim() >= 1 && config->n_ctx >= 1 &&
               config->n_inner >= 1 && config->vocab_size >= 1 && config->layer_norm_epsilon > 0);
  for (const int layer : config->default_layers()) mtm::Require(layer >= 1 && layer <= config->n_layer);
  return 0;
}
