// SPDX-License-Identifier: Apache-2.0
// The keys of one (layer, head) in 4 bits a number, list after list: what a search by index reads instead of
// the keys, an eighth to a quarter of their bytes and one after the other.
//
// A key's residual is what is left when its list's centroid is taken off. Each of its numbers, over the
// scale of that dimension, is rounded to one of 16 levels: those that lose least of a normal distribution
// (J. Max, Quantizing for minimum distortion, 1960). Sums of squares are looked up and added in 8 bits, 32
// rows at a time (as in André et al., Cache locality is not enough, VLDB 2015, and FAISS's fast scan).
#ifndef MTM_MEMORY_STORE_RESIDUAL_CODES_H_
#define MTM_MEMORY_STORE_RESIDUAL_CODES_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "memory_store/inverted_file.h"
#include "memory_store/segment.h"

namespace mtm {

// Of `n_rows` keys: whole blocks of 32 rows.
size_t CodesSize(int64_t n_rows, int head_dim);

// The root of the mean square of each number of the residuals, [head_dim], over the rows of which it is
// finite.
std::vector<float> ResidualScales(const StoredRows& keys, const InvertedFile& file);

// [CodesSize]. `file` has all but its codes. What is no number becomes the lowest level.
std::vector<uint8_t> EncodeRows(const StoredRows& keys, const InvertedFile& file);

// DATA_LOSS: a code is not that of the nearest level, and rounding does not explain it.
absl::Status CheckCodes(const StoredRows& keys, const InvertedFile& file);

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_RESIDUAL_CODES_H_
