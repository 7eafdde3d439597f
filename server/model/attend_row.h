// SPDX-License-Identifier: Apache-2.0
// Attention on the CPU, of one head. A row's bits are its own: the same whatever rows are attended with it.
#ifndef MTM_SERVER_MODEL_ATTEND_ROW_H_
#define MTM_SERVER_MODEL_ATTEND_ROW_H_

#include <cstddef>
#include <span>

#include "memory_store/cpu.h"
#include "memory_store/memory.h"

namespace mtm {

// Keys or values of one head as they are cached, [n, dim]: float32 or halves, which are computed with as
// float32.
struct CachedRows {
  const void* data;
  DataType type;
};

// softmax(q K^T / sqrt(dim)) of one head, into `attention` [n]. query [dim]; keys [n, dim]. n >= 1.
void RowAttention(std::span<const float> query, const CachedRows& keys, std::span<float> attention,
                  Isa isa = BestIsa());

// attention V: attention [n]; values [n, dim]; out [dim].
void AttendValues(std::span<const float> attention, const CachedRows& values, std::span<float> out,
                  Isa isa = BestIsa());

// Rows at positions [first, first + n), each of which sees the keys up to its own.
struct QueryRows {
  size_t first, n, dim;
  const float* queries;     // [n, dim], `query_stride` apart
  CachedRows keys, values;  // [first + n, dim], of one type
  float* out;               // [n, dim], `out_stride` apart
  size_t query_stride, out_stride;
};
inline constexpr size_t kRowsTogether = 16;  // what a core's cache holds well

// RowAttention and AttendValues of n <= kRowsTogether rows. scratch [n, first + n].
void AttendRows(const QueryRows& rows, std::span<float> scratch, Isa isa = BestIsa());

}  // namespace mtm

#endif  // MTM_SERVER_MODEL_ATTEND_ROW_H_
