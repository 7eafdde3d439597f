// SPDX-License-Identifier: Apache-2.0
// Distances to residual codes (residual_codes.h), looked up and added in 8 bits.
#ifndef MTM_MEMORY_STORE_CODE_SUMS_H_
#define MTM_MEMORY_STORE_CODE_SUMS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "memory_store/cpu.h"

namespace mtm {

inline constexpr size_t kLevels = 16;
inline constexpr std::array<float, kLevels> kLevel = {
    -2.733f, -2.069f, -1.618f, -1.256f, -0.9424f, -0.6568f, -0.3881f, -0.1284f,
    0.1284f, 0.3881f, 0.6568f, 0.9424f, 1.256f,   1.618f,   2.069f,   2.733f};

// Codes come in blocks of 32 rows: [head_dim][16] bytes, of rows j in the low and j + 16 in the high bits.
inline constexpr size_t kRowsPerBlock = 32;
inline constexpr size_t kBytesPerBlock = 16;  // and number of the head

// Blocks that hold this many rows.
constexpr size_t CodeBlocks(size_t n_rows) { return (n_rows + kRowsPerBlock - 1) / kRowsPerBlock; }

// Sums that are not larger are sums; a saturated one may stand for any that is.
inline constexpr int kLargestSum = 254;
inline constexpr int kSaturated = 255;

// No row's squared distance, as its codes tell it, is below `nearest` or above `farthest`.
struct DistanceRange {
  float nearest = 0;
  float farthest = 0;
};

// `residual` [head_dim] is the query's, to a list's centroid. `farthest` is not finite where anything is not.
DistanceRange RangeOfDistances(std::span<const float> residual, std::span<const float> scales);

// tables [head_dim, 16]: of each dimension and level, the squared distance above the dimension's smallest
// possible, in units. Saturates.
void FillTables(std::span<const float> residual, std::span<const float> scales, float unit,
                std::span<uint8_t> tables, Isa isa = BestIsa());

// What one query makes of blocks of codes.
struct CodeSums {
  const uint8_t* tables;  // [head_dim, 16]
  uint8_t* sums;          // [blocks, 32]: for each row the sum of what the tables say of its codes; saturates
  uint32_t* below;        // [blocks]: bit j says that row j's sum is not saturated
};

// So many at a time share the reading of the codes.
inline constexpr size_t kQueriesTogether = 4;

void SumCodes(const uint8_t* codes, size_t n_blocks, size_t head_dim, std::span<const CodeSums> queries,
              Isa isa = BestIsa());

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_CODE_SUMS_H_
