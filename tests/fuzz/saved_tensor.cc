// SPDX-License-Identifier: Apache-2.0
// A file that torch.save wrote: a zip with a pickle and numbers.
#include "memory_store/saved_tensor.h"

#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static mtm::AnonymousFile file;
  file.Write(mtm::Text(data, size));
  const auto matrix = mtm::ReadSavedMatrix(file.path());
  if (matrix.ok()) {
    mtm::Require(matrix->n_rows >= 1 && matrix->n_columns >= 1);
    mtm::Require(matrix->data.size() == static_cast<size_t>(matrix->n_rows * matrix->n_columns));
    mtm::Require(matrix->data.size() * sizeof(float) <= size);
  }
  return 0;
}
