// SPDX-License-Identifier: Apache-2.0
// The data.pkl of a tensor that torch.save wrote.
#include "memory_store/pickle_reader.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto tensor = mtm::ReadPickledTensor(mtm::Text(data, size));
  if (tensor.ok()) mtm::Require(tensor->sizes.size() <= 8 && tensor->strides.size() <= 8);
  return 0;
}
