// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_MODEL_MIX_H_
#define MTM_SERVER_MODEL_MIX_H_

#include <span>
#include <vector>

#include "server/model/memory_use.h"

namespace mtm {

// A tokens-head's own row; each [head_dim].
struct OwnRow {
  std::span<const float> query, key, value;
};

struct Mix {
  float own_weight = 0;        // 0 in Type 2
  std::vector<float> weights;  // of the neighbours, in their order
};

// Ranks the neighbours of one tokens-head, and in Types 1 and 3 its own key, by the softmax of query . key /
// sqrt(d) . TS (METHOD 2, Rank; equation 5), and writes the new value V' [head_dim] into `mixed` (Mix). keys,
// values: the neighbours', [n, head_dim], nearest first.
Mix RankAndMix(const MemoryParameters& parameters, const OwnRow& own, std::span<const float> keys,
               std::span<const float> values, std::span<float> mixed);

}  // namespace mtm

#endif  // MTM_SERVER_MODEL_MIX_H_
