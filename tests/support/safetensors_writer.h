// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_TESTS_SUPPORT_SAFETENSORS_WRITER_H_
#define MTM_TESTS_SUPPORT_SAFETENSORS_WRITER_H_

#include <cstdint>
#include <string>
#include <vector>

namespace mtm {

struct StoredTensor {
  std::string name;
  std::string dtype;  // as the format names it
  std::vector<int64_t> shape;
  std::string bytes;
};

// A safetensors file: header length, header, data, whatever the three say. The header is not padded, so that
// data may lie unaligned.
std::string SafetensorsFileOf(const std::string& header, const std::string& data);

// A well-formed file with the tensors one after the other.
std::string SafetensorsFileOf(const std::vector<StoredTensor>& tensors);

// `values` as bytes of "F32", "F16" or "BF16", each rounded to the nearest number of that type.
std::string Encode(const std::string& dtype, const std::vector<float>& values);
std::vector<float> Decode(const std::string& dtype, const std::string& bytes);

}  // namespace mtm

#endif  // MTM_TESTS_SUPPORT_SAFETENSORS_WRITER_H_
