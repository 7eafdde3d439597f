// SPDX-License-Identifier: Apache-2.0
// Attention of a decode step: one query a head. Reads each key and value once, in order.
#ifndef MTM_SERVER_MODEL_ATTEND_ROW_H_
#define MTM_SERVER_MODEL_ATTEND_ROW_H_

#include <cstdint>
#include <span>

#include "memory_store/cpu.h"

namespace mtm {

// softmax(q K^T / sqrt(dim)) V of one head. query, out [dim]; keys, values [n, dim]; scores [n] is scratch. n
// >= 1.
void AttendRow(std::span<const float> query, const float* keys, const float* values, std::span<float> scores,
               std::span<float> out, Isa isa = BestIsa());

}  // namespace mtm

#endif  // MTM_SERVER_MODEL_ATTEND_ROW_H_
