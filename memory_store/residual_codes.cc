// SPDX-License-Identifier: Apache-2.0
#include "memory_store/residual_codes.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <vector>

#include "absl/strings/str_cat.h"
#include "memory_store/code_sums.h"

namespace mtm {
namespace {

// Between two levels the nearer one changes.
constexpr std::array<float, kLevels - 1> kBorders = [] {
  std::array<float, kLevels - 1> borders{};
  for (size_t i = 0; i < borders.size(); ++i) borders[i] = (kLevel[i] + kLevel[i + 1]) / 2;
  return borders;
}();

// Of each number over its scale; the lowest where it is none.
void NearestLevels(std::span<const float> scaled, std::span<uint8_t> levels) {
  std::fill(levels.begin(), levels.end(), uint8_t{0});
  for (const float border : kBorders) {
    for (size_t i = 0; i < scaled.size(); ++i) levels[i] += scaled[i] > border ? 1 : 0;
  }
}

// Where the code of a number of the row at `place` of the lists' order is: a byte holds those of two rows.
struct CodePlace {
  size_t byte;
  int shift;
};

CodePlace PlaceOf(size_t place, size_t i, size_t dim) {
  const size_t in_block = place % kRowsPerBlock;
  return {.byte = (place / kRowsPerBlock * dim + i) * kBytesPerBlock + in_block % kBytesPerBlock,
          .shift = in_block < kBytesPerBlock ? 0 : 4};
}

// Calls visit(place in the lists' order, residual [head_dim]) for each row until it says no.
template <typename Visit>
void ForEachResidual(const StoredRows& keys, const InvertedFile& file, Visit visit) {
  const auto dim = static_cast<size_t>(keys.head_dim);
  std::vector<float> residual(dim);
  for (size_t list = 0; list + 1 < file.list_begins.size(); ++list) {
    const float* const centroid = &file.centroids[list * dim];
    for (size_t place = file.list_begins[list]; place < file.list_begins[list + 1]; ++place) {
      keys.Copy(file.rows[place], residual);
      for (size_t i = 0; i < dim; ++i) residual[i] -= centroid[i];
      if (!visit(place, std::span<float>(residual))) return;
    }
  }
}

// Divides by the scales. 0 where a dimension does not vary: all its residuals are nothing, whatever their
// codes.
void Scale(std::span<float> residual, std::span<const float> scales) {
  for (size_t i = 0; i < residual.size(); ++i) residual[i] = scales[i] > 0 ? residual[i] / scales[i] : 0;
}

}  // namespace

size_t CodesSize(int64_t n_rows, int head_dim) {
  return CodeBlocks(static_cast<size_t>(n_rows)) * static_cast<size_t>(head_dim) * kBytesPerBlock;
}

std::vector<float> ResidualScales(const StoredRows& keys, const InvertedFile& file) {
  std::vector<double> squares(static_cast<size_t>(keys.head_dim));
  std::vector<int64_t> n_finite(squares.size());
  ForEachResidual(keys, file, [&](size_t, std::span<const float> residual) {
    for (size_t i = 0; i < residual.size(); ++i) {
      const float square = residual[i] * residual[i];
      if (!std::isfinite(square)) continue;
      squares[i] += square;
      ++n_finite[i];
    }
    return true;
  });
  std::vector<float> scales(squares.size());
  for (size_t i = 0; i < scales.size(); ++i) {
    if (n_finite[i] > 0)
      scales[i] = static_cast<float>(std::sqrt(squares[i] / static_cast<double>(n_finite[i])));
  }
  return scales;
}

std::vector<uint8_t> EncodeRows(const StoredRows& keys, const InvertedFile& file) {
  std::vector<uint8_t> codes(CodesSize(keys.n, keys.head_dim));
  std::vector<uint8_t> levels(file.scales.size());
  ForEachResidual(keys, file, [&](size_t place, std::span<float> residual) {
    Scale(residual, file.scales);
    NearestLevels(residual, levels);
    for (size_t i = 0; i < levels.size(); ++i) {
      const CodePlace at = PlaceOf(place, i, levels.size());
      codes[at.byte] |= static_cast<uint8_t>(levels[i] << at.shift);
    }
    return true;
  });
  return codes;
}

absl::Status CheckCodes(const StoredRows& keys, const InvertedFile& file) {
  constexpr float kRounding = 1e-4f;  // of a border, which lies at 3 at most
  absl::Status status;
  std::vector<uint8_t> lowest(file.scales.size());
  std::vector<uint8_t> highest(file.scales.size());
  ForEachResidual(keys, file, [&](size_t place, std::span<float> residual) {
    Scale(residual, file.scales);
    for (float& x : residual) x -= kRounding;
    NearestLevels(residual, lowest);
    for (float& x : residual) x += 2 * kRounding;
    NearestLevels(residual, highest);
    for (size_t i = 0; i < residual.size() && status.ok(); ++i) {
      const CodePlace at = PlaceOf(place, i, residual.size());
      const int code = file.codes[at.byte] >> at.shift & 15;
      if (code >= lowest[i] && code <= highest[i]) continue;
      status = absl::DataLossError(absl::StrCat("number ", i, " of row ", file.rows[place], " has code ",
                                                code, ", and is nearest to level ", int{lowest[i]}));
    }
    return status.ok();
  });
  return status;
}

}  // namespace mtm
