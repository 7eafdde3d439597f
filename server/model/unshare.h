// SPDX-License-Identifier: Apache-2.0
// Private to server/model: includes LibTorch.
#ifndef MTM_SERVER_MODEL_UNSHARE_H_
#define MTM_SERVER_MODEL_UNSHARE_H_

#include <ATen/core/Tensor.h>

namespace mtm {

// Copies a tensor's numbers where a fork holds them too. Did it?
inline bool Unshare(at::Tensor& tensor) {
  const bool shared = tensor.defined() && tensor.use_count() > 1;
  if (shared) tensor = tensor.clone();
  return shared;
}

}  // namespace mtm

#endif  // MTM_SERVER_MODEL_UNSHARE_H_
