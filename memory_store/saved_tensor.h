// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_MEMORY_STORE_SAVED_TENSOR_H_
#define MTM_MEMORY_STORE_SAVED_TENSOR_H_

#include <cstdint>
#include <filesystem>
#include <vector>

#include "absl/status/statusor.h"

namespace mtm {

struct Matrix {
  int64_t n_rows = 0;
  int64_t n_columns = 0;
  std::vector<float> data;  // [n_rows, n_columns]
};

// Reads a file in which torch.save put one float32 tensor of two dimensions, contiguous or strided. The file
// may be hostile: it costs at most its own size in memory, and none of its pickle is executed. NOT_FOUND: no
// file. INVALID_ARGUMENT: anything else that is not such a tensor. Messages begin with the path.
absl::StatusOr<Matrix> ReadSavedMatrix(const std::filesystem::path& path);

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_SAVED_TENSOR_H_
