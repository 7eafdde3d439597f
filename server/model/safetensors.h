// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_MODEL_SAFETENSORS_H_
#define MTM_SERVER_MODEL_SAFETENSORS_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace mtm {

// A tensor of a safetensors file: a view into the mapped file.
struct TensorView {
  std::string dtype;  // as the file names it: "F32", "F16", "BF16", "BOOL", ...
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;  // row-major, little-endian; exactly the size that dtype and shape ask for
};

// A safetensors file (https://github.com/huggingface/safetensors: "Format"), mapped into memory; never change it in
// place while it is in use. Immutable and thread-safe.
class SafetensorsFile {
 public:
  // NOT_FOUND: cannot be opened. INVALID_ARGUMENT: truncated, or a header that does not describe the file; the
  // message names the tensor or field.
  static absl::StatusOr<std::shared_ptr<const SafetensorsFile>> Open(const std::filesystem::path& path);
  ~SafetensorsFile();
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  const std::map<std::string, TensorView>& tensors() const { return tensors_; }

 private:
  explicit SafetensorsFile(std::span<const std::byte> mapping) : mapping_(mapping) {}
  std::span<const std::byte> mapping_;
  std::map<std::string, TensorView> tensors_;
};

// Gives the pages of a part of a mapped file back to the system; they are read again when they are needed.
void ReleasePages(std::span<const std::byte> part);

// What Open makes of a file's bytes; the views point into `file`.
absl::StatusOr<std::map<std::string, TensorView>> ParseSafetensors(std::span<const std::byte> file);

}  // namespace mtm

#endif  // MTM_SERVER_MODEL_SAFETENSORS_H_
