// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_GENERATION_SAMPLING_H_
#define MTM_SERVER_GENERATION_SAMPLING_H_

#include <cstdint>
#include <span>

#include "server/generation/request.h"

namespace mtm {

// One token (METHOD 3): logits / temperature, the top_k (ties with the k-th kept), then the most probable that reach
// top_p, softmax, one draw. Temperature 0: arg-max, the lowest id on ties.
// logits: [vocab_size]; draw: in [0, 1).
int32_t SampleToken(std::span<const float> logits, const SamplingParameters& parameters, double draw);

// The chosen token's log-probability under the raw logits, and the n_top most probable tokens (lower id first on ties).
TokenDetail Describe(std::span<const float> logits, int32_t chosen, int n_top);

}  // namespace mtm

#endif  // MTM_SERVER_GENERATION_SAMPLING_H_
