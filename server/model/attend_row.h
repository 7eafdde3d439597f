// SPDX-License-Identifier: Apache-2.0
// Attention of a decode step: one query a head. Reads each key and each value once, in order.
#ifndef MTM_SERVER_MODEL_ATTEND_ROW_H_
#define MTM_SERVER_MODEL_ATTEND_ROW_H_

#include <cstdint>
#include <span>

#include "memory_store/cpu.h"

namespace mtm {

// softmax(q K^T / sqrt(dim)) of one head, into `attention` [n]. query [dim]; keys [n, dim]. n >= 1.
void RowAttention(std::span<const float> query, const float* keys, std::span<float> attention,
                  Isa isa = BestIsa());

// attention V: attention [n]; values [n, dim]; out [dim].
void AttendValues(std::span<const float> attention, const float* values, std::span<float> out,
                  Isa isa = BestIsa());

}  // namespace mtm

#endif  // MTM_SERVER_MODEL_ATTEND_ROW_H_
