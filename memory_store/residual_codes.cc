// SPDX-License-Identifier: Apache-2.0
#include "memory_store/residual_codes.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"
#include "memory_store/code_sums.h"
#include "memory_store/search.h"

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

size_t CodeBlocks(size_t n_rows) { return (n_rows + kRowsPerBlock - 1) / kRowsPerBlock; }

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

// Of eight, as most are.
bool AllSaturated(const uint8_t* sums) {
  uint64_t eight;
  std::memcpy(&eight, sums, sizeof(eight));
  return eight == ~uint64_t{0};
}

// Keeps the n nearest rows of the lists that it is shown.
class Scan {
 public:
  Scan(const InvertedFile& file, std::span<const float> query, size_t n)
      : file_(file), query_(query), n_(n), residual_(query.size()), tables_(query.size() * kLevels) {}

  size_t n_candidates() const { return candidates_.size(); }

  void Visit(uint32_t list) {
    const size_t begin = file_.list_begins[list];
    const size_t end = file_.list_begins[list + 1];
    if (begin == end) return;
    const size_t dim = query_.size();
    const float* const centroid = &file_.centroids[list * dim];
    for (size_t i = 0; i < dim; ++i) residual_[i] = query_[i] - centroid[i];
    const DistanceRange range = RangeOfDistances(residual_, file_.scales);
    if (!std::isfinite(range.farthest)) return KeepAll(begin, end);
    if (bounded_ && range.nearest > bound_) return;
    const float farthest = bounded_ ? std::min(bound_, range.farthest) : range.farthest;
    const float unit = (farthest - range.nearest) / kLargestSum;
    FillTables(residual_, file_.scales, unit, tables_);
    const size_t first_block = begin / kRowsPerBlock;
    const size_t n_blocks = CodeBlocks(end) - first_block;
    sums_.resize(n_blocks * kRowsPerBlock);
    SumCodes(&file_.codes[first_block * dim * kBytesPerBlock], tables_, sums_);
    const int largest = farthest == range.farthest ? kSaturated : kLargestSum;
    for (size_t place = begin; place < end; ++place) {
      const uint8_t* const sum = &sums_[place - first_block * kRowsPerBlock];
      if (place + sizeof(uint64_t) <= end && largest < kSaturated && AllSaturated(sum)) {
        place += sizeof(uint64_t) - 1;
      } else if (*sum <= largest) {
        candidates_.push_back(
            {.position = file_.rows[place], .distance = range.nearest + unit * static_cast<float>(*sum)});
      }
    }
    largest_unit_ = std::max(largest_unit_, unit);
    if (bounded_ && candidates_.size() >= 2 * n_) Shrink();
  }

  // From here on only rows that are about as near as the nth of those seen count; those are to be shown
  // again. Sums of a smaller range are finer. Precondition: n_candidates() >= n.
  void Bound() {
    constexpr float kRoundedUnits = 4;  // what a sum is off by is less, but for one in ten thousand
    Shrink();
    bound_ += kRoundedUnits * largest_unit_;
    bounded_ = std::isfinite(bound_);
    candidates_.clear();
  }

  void Finish(std::vector<uint32_t>& rows) {
    if (candidates_.size() > n_) Shrink();
    for (const Neighbour& candidate : candidates_) rows.push_back(static_cast<uint32_t>(candidate.position));
  }

 private:
  // Nothing can be told of them.
  void KeepAll(size_t begin, size_t end) {
    for (size_t place = begin; place < end; ++place) {
      candidates_.push_back(
          {.position = file_.rows[place], .distance = std::numeric_limits<float>::infinity()});
    }
    if (candidates_.size() >= 2 * n_) Shrink();
  }

  void Shrink() {
    const auto last = candidates_.begin() + static_cast<std::ptrdiff_t>(n_ - 1);
    std::nth_element(candidates_.begin(), last, candidates_.end(), Nearer);
    candidates_.erase(last + 1, candidates_.end());
    bound_ = candidates_.back().distance;
  }

  const InvertedFile& file_;
  const std::span<const float> query_;
  const size_t n_;
  std::vector<float> residual_;  // of the query, to the list's centroid
  std::vector<uint8_t> tables_;  // [head_dim, kLevels]
  std::vector<uint8_t> sums_;    // of the rows of the list's blocks
  std::vector<Neighbour> candidates_;
  bool bounded_ = false;
  float bound_ = 0;
  float largest_unit_ = 0;
};

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

void NearestByCodes(const InvertedFile& file, std::span<const uint32_t> lists, std::span<const float> query,
                    size_t n, std::vector<uint32_t>& rows) {
  rows.clear();
  Scan scan(file, query, n);
  for (size_t i = 0; i < lists.size() && scan.n_candidates() < n; ++i) scan.Visit(lists[i]);
  if (scan.n_candidates() >= n) {
    scan.Bound();
    for (const uint32_t list : lists) scan.Visit(list);
  }
  scan.Finish(rows);
}

}  // namespace mtm
