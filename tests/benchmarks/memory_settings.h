// SPDX-License-Identifier: Apache-2.0
// What memories do in the benchmarks, and tokens without meaning to make them of.
#ifndef MTM_TESTS_BENCHMARKS_MEMORY_SETTINGS_H_
#define MTM_TESTS_BENCHMARKS_MEMORY_SETTINGS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "server/model/memory_use.h"

namespace mtm {

// Random weights have no attention sink and attend almost evenly, so the paper's bounds would select nothing
// (BF 0.9) or everything (MF 5). How much is selected is fixed instead.

// The recall settings: position 0 in all heads; the paper has 5 of 12.
inline constexpr MemoryParameters kRecallSettings = {.method = Method::kType2,
                                                     .k = 5,
                                                     .memory_fraction = 0,
                                                     .bookkeeping_fraction = 0,
                                                     .score_scale = 1000,
                                                     .residual_fraction = 0.1};

// The sentiment settings: a tenth of the tokens-heads, the paper's upper end.
inline constexpr MemoryParameters kSentimentSettings = {.method = Method::kType3,
                                                        .k = 5,
                                                        .memory_fraction = 5,
                                                        .bookkeeping_fraction = 0.9,
                                                        .score_scale = 0.01,
                                                        .residual_fraction = 0.33,
                                                        .head_fraction = 0.1};

inline std::vector<int32_t> SomeTokens(int n, int seed) {
  std::vector<int32_t> tokens(static_cast<size_t>(n));
  for (int i = 0; i < n; ++i) tokens[static_cast<size_t>(i)] = (i * 7919 + seed * 104729 + 17) % 50000;
  return tokens;
}

}  // namespace mtm

#endif  // MTM_TESTS_BENCHMARKS_MEMORY_SETTINGS_H_
