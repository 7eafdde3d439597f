// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_MODEL_EXP_H_
#define MTM_SERVER_MODEL_EXP_H_

#include <bit>
#include <cstdint>

namespace mtm {

// e^x for x <= 88, to 2 units in the last place; 0 below -87, so that nothing becomes a subnormal number,
// with which processors are slow. Without calls or branches: a loop over it becomes vector instructions,
// those of the function that it is in (with -fno-trapping-math).
[[gnu::always_inline]] inline float Exp(float x) {
  const bool is_lost = x < -87.f;
  x = is_lost ? -87.f : x;
  // x = n ln 2 + r, |r| <= ln 2 / 2; adding a large number rounds.
  constexpr float kRounder = 12582912.f;  // 1.5 * 2^23
  const float rounded = x * 1.44269504f + kRounder;
  const float n = rounded - kRounder;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  // Cephes' expf.
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1;
  // Its last bits are n.
  const uint32_t power = std::bit_cast<uint32_t>(rounded) - std::bit_cast<uint32_t>(kRounder);
  return is_lost ? 0.f : p * std::bit_cast<float>((power + 127) << 23);
}

}  // namespace mtm

#endif  // MTM_SERVER_MODEL_EXP_H_
