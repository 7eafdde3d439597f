// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_MEMORY_STORE_PICKLE_READER_H_
#define MTM_MEMORY_STORE_PICKLE_READER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace mtm {

// What the pickle of one tensor says about it: a view of a storage that lies elsewhere. Nothing of it is
// checked against anything: numbers are as they were written.
struct PickledTensor {
  std::string storage_key;
  int64_t storage_size = 0;  // elements
  int64_t offset = 0;        // elements
  std::vector<int64_t> sizes;    // at most 8
  std::vector<int64_t> strides;  // at most 8
};

// Bytes of the longest pickle that is read. A tensor's has about 150.
inline constexpr size_t kMaxPickleSize = 1 << 16;

// Reads the data.pkl of a float32 tensor that torch.save wrote. A pickle is a program; this reader knows the
// instructions and the few globals that such a tensor takes, builds the description and calls nothing.
// INVALID_ARGUMENT names the first instruction or global that is anything else, or what is more than such a tensor takes: the
// memory that reading costs is bounded.
absl::StatusOr<PickledTensor> ReadPickledTensor(std::string_view pickle);

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_PICKLE_READER_H_
