// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_MEMORY_STORE_REFERENCE_READER_H_
#define MTM_MEMORY_STORE_REFERENCE_READER_H_

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace mtm {

// A memory that the method's published Python implementation wrote, without its sentinel row. Layers from 1.
struct ReferenceMemory {
  std::string text;
  int n_layer = 0;
  int n_head = 0;
  int head_dim = 0;
  int64_t n_tokens = 0;
  std::vector<std::vector<float>> all_keys;    // [n_layer * n_head][n_tokens * head_dim]
  std::vector<std::vector<float>> all_values;  // as all_keys

  // [n_tokens, head_dim]. Precondition: 1 <= layer <= n_layer, 0 <= head < n_head.
  std::span<const float> keys(int layer, int head) const { return all_keys[Index(layer, head)]; }
  std::span<const float> values(int layer, int head) const { return all_values[Index(layer, head)]; }

 private:
  size_t Index(int layer, int head) const {
    return static_cast<size_t>(layer - 1) * static_cast<size_t>(n_head) + static_cast<size_t>(head);
  }
};

// Reads folder/{keyStore,valueStore}/L/H.pt (L, H from 0) and its text: folder/NAME.txt, NAME being the
// folder's, or the only *.txt there is. The folder's FAISS files are not read. Files may be hostile: see
// ReadSavedMatrix. NOT_FOUND: no such folder or a file of it is missing. INVALID_ARGUMENT: a file is no
// tensor, its row 0 is not the sentinel (-inf in keys, 0 in values), another row has a number that is not
// finite, or shapes disagree; names the file.
absl::StatusOr<ReferenceMemory> ReadReferenceMemory(const std::filesystem::path& folder);

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_REFERENCE_READER_H_
