// SPDX-License-Identifier: Apache-2.0
// A checkpoint's safetensors file.
#include "server/model/safetensors.h"

#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file = mtm::Bytes(mtm::Text(data, size));
  const auto tensors = mtm::ParseSafetensors(file);
  if (!tensors.ok()) return 0;
  size_t n_bytes = 0;
  for (const auto& [name, view] : *tensors) {
    mtm::Require(view.bytes.empty() || (view.bytes.data() >= file.data() &&
                                        view.bytes.data() + view.bytes.size() <= file.data() + file.size()));
    n_bytes += view.bytes.size();
  }
  mtm::Require(n_bytes < size);  // no byte in two tensors
  return 0;
}
