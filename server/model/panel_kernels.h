// SPDX-License-Identifier: Apache-2.0
// Products of rows with a panel: 48 outputs of a weight matrix, whose weights lie as they are read. Memory's
// speed bounds a product of a few rows, so each weight is read once, in order, for up to 8 rows.
#ifndef MTM_SERVER_MODEL_PANEL_KERNELS_H_
#define MTM_SERVER_MODEL_PANEL_KERNELS_H_

#include <cstdint>

#include "memory_store/cpu.h"

namespace mtm {

inline constexpr int64_t kPanelWidth = 48;
inline constexpr int64_t kInt8Group = 4;  // inputs that are multiplied at once

// sums[r, c] = the sum of x[r, i] * panel[i, c] over i < n_in. Each is added up by itself, in ascending i, a
// fused multiply-add at a time: a row's sums do not depend on n_rows, nor on the processor where it has
// fused multiply-adds.
//   panel [n_in, 48], sums [n_rows, 48]
void MultiplyPanel(const float* panel, int64_t n_in, const float* x, int64_t n_rows, float* sums,
                   Isa isa = BestIsa());

// The same with weights as IEEE 754 binary16.
void MultiplyPanel(const uint16_t* panel, int64_t n_in, const float* x, int64_t n_rows, float* sums,
                   Isa isa = BestIsa());

// The same in integers, of inputs in groups of 4: panel [n_in / 4, 48, 4]. Exact.
void MultiplyPanel(const int8_t* panel, int64_t n_in, const uint8_t* x, int64_t n_rows, int32_t* sums,
                   Isa isa = BestIsa());

}  // namespace mtm

#endif  // MTM_SERVER_MODEL_PANEL_KERNELS_H_
