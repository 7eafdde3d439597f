// SPDX-License-Identifier: Apache-2.0
#include "memory_store/code_search.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "memory_store/code_sums.h"
#include "memory_store/search.h"

namespace mtm {
namespace {

// Of a list: its rows are at places [begin, end) of the lists' order, in whole blocks with others.
struct ListPlace {
  size_t begin, end;

  size_t n_rows() const { return end - begin; }
  bool is_empty() const { return begin == end; }
  size_t first_block() const { return begin / kRowsPerBlock; }
  size_t n_blocks() const { return CodeBlocks(end) - first_block(); }

  // Which rows of a block are the list's, a bit each.
  uint32_t RowsOf(size_t block) const {
    const size_t first = block * kRowsPerBlock;
    uint32_t rows = ~uint32_t{0};
    if (first < begin) rows &= ~uint32_t{0} << (begin - first);
    if (first + kRowsPerBlock > end) rows &= ~uint32_t{0} >> (first + kRowsPerBlock - end);
    return rows;
  }
};

ListPlace PlaceOfList(const InvertedFile& file, uint32_t list) {
  return {.begin = file.list_begins[list], .end = file.list_begins[list + 1]};
}

// A list as one query sees it.
class Probe {
 public:
  explicit Probe(size_t dim) : residual_(dim), tables_(dim * kLevels) {}

  // Distances that its rows may have.
  DistanceRange Turn(const InvertedFile& file, std::span<const float> query, uint32_t list) {
    list_ = PlaceOfList(file, list);
    const float* const centroid = &file.centroids[list * query.size()];
    for (size_t i = 0; i < query.size(); ++i) residual_[i] = query[i] - centroid[i];
    return RangeOfDistances(residual_, file.scales);
  }

  // What is to be summed, in these units above range.nearest.
  CodeSums Prepare(const InvertedFile& file, float unit) {
    FillTables(residual_, file.scales, unit, tables_);
    sums_.resize(list_.n_blocks() * kRowsPerBlock);
    below_.resize(list_.n_blocks());
    return {.tables = tables_.data(), .sums = sums_.data(), .below = below_.data()};
  }

  // Calls visit(place, sum) for each row of the list; for those alone whose sums are not saturated unless
  // `all`.
  template <typename Visit>
  void ForEachSum(bool all, Visit visit) const {
    for (size_t i = 0; i < below_.size(); ++i) {
      const size_t block = list_.first_block() + i;
      for (uint32_t rows = list_.RowsOf(block) & (all ? ~uint32_t{0} : below_[i]); rows != 0;
           rows &= rows - 1) {
        const auto in_block = static_cast<size_t>(std::countr_zero(rows));
        visit(block * kRowsPerBlock + in_block, sums_[i * kRowsPerBlock + in_block]);
      }
    }
  }

  const ListPlace& list() const { return list_; }

 private:
  ListPlace list_{};
  std::vector<float> residual_;  // of the query, to the list's centroid
  std::vector<uint8_t> tables_;  // [head_dim, kLevels]
  std::vector<uint8_t> sums_;    // of the rows of the list's blocks
  std::vector<uint32_t> below_;
};

// Sums the codes of a list for those who are prepared.
void SumList(const InvertedFile& file, const ListPlace& list, std::span<const CodeSums> queries) {
  const size_t dim = file.scales.size();
  SumCodes(&file.codes[list.first_block() * dim * kBytesPerBlock], list.n_blocks(), dim, queries);
}

// A distance that about n rows of a query's nearest lists are within. `unit` is that of the rounded numbers
// that it is a sum of; infinite where nothing can be told.
struct Bound {
  float distance = std::numeric_limits<float>::infinity();
  float unit = std::numeric_limits<float>::infinity();
};

Bound BoundOf(const InvertedFile& file, std::span<const float> query, std::span<const uint32_t> lists,
              size_t n) {
  // As many as have n rows, most often one, in units that are the same for all.
  std::vector<Probe> probes;
  std::vector<float> nearest;
  DistanceRange range{.nearest = std::numeric_limits<float>::infinity(), .farthest = 0};
  size_t n_rows = 0;
  for (size_t i = 0; i < lists.size() && n_rows < n; ++i) {
    if (PlaceOfList(file, lists[i]).is_empty()) continue;
    const DistanceRange one = probes.emplace_back(query.size()).Turn(file, query, lists[i]);
    if (!std::isfinite(one.farthest)) return {};
    nearest.push_back(one.nearest);
    range = {.nearest = std::min(range.nearest, one.nearest),
             .farthest = std::max(range.farthest, one.farthest)};
    n_rows += probes.back().list().n_rows();
  }
  if (n_rows < n) return {};
  const float unit = (range.farthest - range.nearest) / kLargestSum;
  std::array<size_t, 2 * (kSaturated + 1)> rows_at{};  // by distance in units: a sum and its list's
  for (size_t i = 0; i < probes.size(); ++i) {
    const CodeSums sums = probes[i].Prepare(file, unit);
    SumList(file, probes[i].list(), {&sums, 1});
    const auto above = unit > 0 ? static_cast<size_t>((nearest[i] - range.nearest) / unit) : 0;
    probes[i].ForEachSum(true,
                         [&](size_t, uint8_t sum) { ++rows_at[std::min(above + sum, rows_at.size() - 1)]; });
  }
  size_t units = 0;
  for (size_t seen = rows_at[0]; seen < n; seen += rows_at[++units]) {
  }
  return {.distance = range.nearest + unit * static_cast<float>(units), .unit = unit};
}

// Keeps the n nearest rows of the lists that a query is shown.
class Candidates {
 public:
  Candidates(const InvertedFile& file, std::span<const float> query, std::span<const uint32_t> lists,
             size_t n)
      : file_(file), query_(query), n_(n), first_bound_(BoundOf(file, query, lists, n)) {
    Start();
  }

  // Are sums wanted of the list? Then Take is to follow.
  bool Prepare(uint32_t list, Probe& probe, CodeSums& sums) {
    const DistanceRange range = probe.Turn(file_, query_, list);
    if (probe.list().is_empty()) return false;
    if (!std::isfinite(range.farthest)) {
      KeepAll(probe.list());
      return false;
    }
    if (range.nearest > bound_) return false;
    nearest_ = range.nearest;
    // Sums of a smaller range are finer.
    all_ = bound_ >= range.farthest;
    unit_ = ((all_ ? range.farthest : bound_) - range.nearest) / kLargestSum;
    sums = probe.Prepare(file_, unit_);
    return true;
  }

  void Take(const Probe& probe) {
    probe.ForEachSum(all_, [this](size_t place, uint8_t sum) {
      kept_.push_back(
          {.position = file_.rows[place], .distance = nearest_ + unit_ * static_cast<float>(sum)});
    });
    if (kept_.size() >= kMost * n_) Shrink();
  }

  // Rounding has lost rows, and the lists are to be shown again, for a wider bound.
  bool Restart() {
    if (kept_.size() >= n_ || !std::isfinite(bound_)) return false;
    slack_ *= 4;
    Start();
    return true;
  }

  std::vector<uint32_t> Finish() {
    if (kept_.size() > n_) Shrink();
    std::vector<uint32_t> rows(kept_.size());
    std::ranges::transform(kept_, rows.begin(), [](const Neighbour& one) { return one.position; });
    return rows;
  }

 private:
  static constexpr size_t kMost = 4;  // times n

  // Units that the first bound may be off by. Most often it is less; but where a list's keys are nearly one,
  // each of their numbers can be half a unit and rounded to none.
  static constexpr float kSlack = 4, kMaxSlack = 256;

  void Start() {
    kept_.clear();
    bound_ = slack_ <= kMaxSlack ? first_bound_.distance + slack_ * first_bound_.unit
                                 : std::numeric_limits<float>::infinity();
  }

  // Nothing can be told of them.
  void KeepAll(const ListPlace& list) {
    for (size_t place = list.begin; place < list.end; ++place) {
      kept_.push_back({.position = file_.rows[place], .distance = std::numeric_limits<float>::infinity()});
    }
    if (kept_.size() >= kMost * n_) Shrink();
  }

  void Shrink() {
    const auto last = kept_.begin() + static_cast<std::ptrdiff_t>(n_ - 1);
    std::nth_element(kept_.begin(), last, kept_.end(), Nearer);
    kept_.erase(last + 1, kept_.end());
    bound_ = std::min(bound_, kept_.back().distance);
  }

  const InvertedFile& file_;
  const std::span<const float> query_;
  const size_t n_;
  const Bound first_bound_;
  float slack_ = kSlack;
  float bound_ = 0;
  std::vector<Neighbour> kept_;

  // Of the list that is being looked at.
  float nearest_ = 0;
  float unit_ = 0;
  bool all_ = false;
};

// Shows lists to queries.
class ListReader {
 public:
  explicit ListReader(const InvertedFile& file)
      : file_(file), probes_(kQueriesTogether, Probe(file.scales.size())) {}

  // To kQueriesTogether at most.
  void Show(uint32_t list, std::span<Candidates* const> to) {
    std::array<CodeSums, kQueriesTogether> sums;
    std::array<Candidates*, kQueriesTogether> prepared;
    size_t n = 0;
    for (Candidates* const one : to) {
      prepared[n] = one;
      if (one->Prepare(list, probes_[n], sums[n])) ++n;
    }
    if (n == 0) return;
    SumList(file_, probes_[0].list(), std::span(sums).first(n));
    for (size_t i = 0; i < n; ++i) prepared[i]->Take(probes_[i]);
  }

 private:
  const InvertedFile& file_;
  std::vector<Probe> probes_;
};

}  // namespace

std::vector<std::vector<uint32_t>> NearestByCodes(const InvertedFile& file,
                                                  std::span<const std::vector<uint32_t>> lists,
                                                  std::span<const float> queries, size_t n) {
  const size_t dim = file.scales.size();
  struct Visit {
    uint32_t list;
    uint32_t query;
    auto operator<=>(const Visit&) const = default;
  };
  std::vector<Candidates> candidates;
  std::vector<Visit> visits;
  candidates.reserve(lists.size());
  for (size_t q = 0; q < lists.size(); ++q) {
    candidates.emplace_back(file, queries.subspan(q * dim, dim), lists[q], n);
    for (const uint32_t list : lists[q]) visits.push_back({list, static_cast<uint32_t>(q)});
  }
  std::ranges::sort(visits);

  ListReader reader(file);
  std::vector<Candidates*> together;
  for (size_t i = 0; i < visits.size();) {
    const uint32_t list = visits[i].list;
    together.clear();
    for (; i < visits.size() && visits[i].list == list && together.size() < kQueriesTogether; ++i)
      together.push_back(&candidates[visits[i].query]);
    reader.Show(list, together);
  }
  std::vector<std::vector<uint32_t>> rows;
  rows.reserve(lists.size());
  for (size_t q = 0; q < lists.size(); ++q) {
    Candidates* const one = &candidates[q];
    while (one->Restart()) {
      for (const uint32_t list : lists[q]) reader.Show(list, {&one, 1});
    }
    rows.push_back(one->Finish());
  }
  return rows;
}

}  // namespace mtm
