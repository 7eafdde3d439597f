// SPDX-License-Identifier: Apache-2.0
#include "client/request_id.h"

#include <cstdint>
#include <random>

#include "absl/strings/str_format.h"

namespace mtm::client {

std::string NewRequestId() {
  std::random_device device;  // the system's entropy: processes must not draw alike
  const auto draw = [&device] { return uint64_t{device()} << 32 | device(); };
  const uint64_t high = (draw() & ~uint64_t{0xf000}) | 0x4000;               // version
  const uint64_t low = (draw() & ~(uint64_t{3} << 62)) | uint64_t{1} << 63;  // variant
  return absl::StrFormat("%08x-%04x-%04x-%04x-%012x", high >> 32, high >> 16 & 0xffff, high & 0xffff,
                         low >> 48, low & 0xffffffffffff);
}

}  // namespace mtm::client
