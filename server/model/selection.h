// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_MODEL_SELECTION_H_
#define MTM_SERVER_MODEL_SELECTION_H_

#include <cstdint>
#include <span>
#include <vector>

#include "server/model/memory_use.h"

namespace mtm {

// A (head, position) of a layer.
struct TokensHead {
  int head;
  int position;

  friend auto operator<=>(const TokensHead&, const TokensHead&) = default;
};

// The tokens-heads that the newest position selects (METHOD 2, Select; the paper's equation 4), by head, then position.
// attention: s [n_head, n_positions], the last row of each head's softmax.
std::vector<TokensHead> SelectTokensHeads(std::span<const float> attention, int n_head, int n_positions,
                                          const MemoryParameters& parameters);

}  // namespace mtm

#endif  // MTM_SERVER_MODEL_SELECTION_H_
