// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_MODEL_FINGERPRINT_H_
#define MTM_SERVER_MODEL_FINGERPRINT_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "server/model/config.h"
#include "server/model/safetensors.h"

namespace mtm {

// SHA-256, in hexadecimal digits, over what the forward pass reads: the configuration's numbers and each tensor's
// name, type, shape and bytes, in the order of names.
// Calls `hashed` for each tensor when its bytes were read, on any thread.
std::string Fingerprint(const ModelConfig& config, const std::map<std::string, TensorView>& tensors,
                        const std::function<void(const TensorView&)>& hashed);

// For weights that come from a seed.
std::string SeedFingerprint(const ModelConfig& config, uint64_t seed);

}  // namespace mtm

#endif  // MTM_SERVER_MODEL_FINGERPRINT_H_
