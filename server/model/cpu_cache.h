// SPDX-License-Identifier: Apache-2.0
// Private to server/model: includes LibTorch.
#ifndef MTM_SERVER_MODEL_CPU_CACHE_H_
#define MTM_SERVER_MODEL_CPU_CACHE_H_

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "memory_store/half.h"
#include "server/model/attend_row.h"

namespace mtm {

// Row by row, a cache of keys or values on the CPU: a contiguous [n_head, capacity, head_dim] of floats or
// halves, which outlives this. Rows that are read and written are [head_dim] of float32.
class CpuCache {
 public:
  explicit CpuCache(const at::Tensor& cache)
      : data_(static_cast<std::byte*>(cache.mutable_data_ptr())),
        capacity_(cache.size(1)),
        dim_(static_cast<size_t>(cache.size(2))),
        type_(cache.scalar_type() == at::kHalf ? DataType::kF16 : DataType::kF32) {}

  CachedRows Head(int64_t head) const { return {Row(head, 0), type_}; }

  void Read(int64_t head, int64_t position, float* row) const {
    if (type_ == DataType::kF16) {
      HalfToFloat({reinterpret_cast<const uint16_t*>(Row(head, position)), dim_}, {row, dim_});
    } else {
      std::memcpy(row, Row(head, position), row_bytes());
    }
  }

  // What is beyond halves becomes the largest of them: infinity would make what attends no number.
  void Write(int64_t head, int64_t position, const float* row) const {
    if (type_ == DataType::kF16) {
      const std::span<uint16_t> halves(reinterpret_cast<uint16_t*>(Row(head, position)), dim_);
      FloatToHalf({row, dim_}, halves);
      constexpr uint16_t kSign = 0x8000, kInfinity = 0x7c00, kLargest = 0x7bff;
      for (uint16_t& half : halves) {
        if ((half & ~kSign) == kInfinity) half = static_cast<uint16_t>((half & kSign) | kLargest);
      }
    } else {
      std::memcpy(Row(head, position), row, row_bytes());
    }
  }

  // rows [n_head, count, head_dim] of float32, numbers of a row side by side, at positions from `first` on.
  void WriteRows(int64_t first, const at::Tensor& rows) const {
    for (int64_t head = 0; head < rows.size(0); ++head) {
      for (int64_t row = 0; row < rows.size(1); ++row) {
        Write(head, first + row, rows.const_data_ptr<float>() + head * rows.stride(0) + row * rows.stride(1));
      }
    }
  }

  // The same row of a cache of the same shape and type.
  void Copy(const CpuCache& from, int64_t head, int64_t position) const {
    std::memcpy(Row(head, position), from.Row(head, position), row_bytes());
  }

 private:
  size_t row_bytes() const { return dim_ * ElementSize(type_); }
  std::byte* Row(int64_t head, int64_t position) const {
    return data_ + static_cast<size_t>(head * capacity_ + position) * row_bytes();
  }

  std::byte* data_;
  int64_t capacity_;
  size_t dim_;
  DataType type_;
};

}  // namespace mtm

#endif  // MTM_SERVER_MODEL_CPU_CACHE_H_
