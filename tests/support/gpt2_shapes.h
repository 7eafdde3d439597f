// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_TESTS_SUPPORT_GPT2_SHAPES_H_
#define MTM_TESTS_SUPPORT_GPT2_SHAPES_H_

#include "server/model/config.h"

namespace mtm {

// GPT-2 small: 124M parameters.
inline ModelConfig Gpt2Small() {
  return {.n_layer = 12, .n_head = 12, .n_embd = 768, .n_ctx = 1024, .n_inner = 3072, .vocab_size = 50257,
          .end_of_text = 50256};
}

}  // namespace mtm

#endif  // MTM_TESTS_SUPPORT_GPT2_SHAPES_H_
