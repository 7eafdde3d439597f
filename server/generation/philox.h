// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_GENERATION_PHILOX_H_
#define MTM_SERVER_GENERATION_PHILOX_H_

#include <array>
#include <cstdint>

namespace mtm {

// Philox 4x32-10, the counter-based generator of Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3" (SC'11):
// the numbers are a function of key and counter, so a draw depends on no draw before it.
std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// A double in [0, 1) of 53 bits: the draw of one step of one sample.
double UniformDraw(uint64_t seed, uint32_t sample, uint64_t step);

}  // namespace mtm

#endif  // MTM_SERVER_GENERATION_PHILOX_H_
