// SPDX-License-Identifier: Apache-2.0
// IEEE 754 binary16 and back, with the processor's instructions where it has them, to the same bits
// everywhere.
#ifndef MTM_MEMORY_STORE_HALF_H_
#define MTM_MEMORY_STORE_HALF_H_

#include <cstdint>
#include <span>

namespace mtm {

// Exact. Sizes are equal.
void HalfToFloat(std::span<const uint16_t> halves, std::span<float> floats);

// Rounds to nearest, ties to even: from 65520 on to infinity. Sizes are equal.
void FloatToHalf(std::span<const float> floats, std::span<uint16_t> halves);

// The same without special instructions.
float PortableHalfToFloat(uint16_t half);
uint16_t PortableFloatToHalf(float number);

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_HALF_H_
