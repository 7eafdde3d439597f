// SPDX-License-Identifier: Apache-2.0
#include "server/model/selection.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <limits>

namespace mtm {
namespace {

// Keeps the ceil(f H t) most attended; of equal ones those in front, which are of the lower head, then the
// lower position.
void LimitToFraction(std::span<const float> attention, int n_head, int n_positions, double fraction,
                     std::vector<TokensHead>& selected) {
  const double limit = std::ceil(fraction * (double{1} * n_head * n_positions));
  if (limit >= static_cast<double>(selected.size())) return;
  const auto score = [&](const TokensHead& t) {
    return attention[static_cast<size_t>(t.head) * static_cast<size_t>(n_positions) +
                     static_cast<size_t>(t.position)];
  };
  std::vector<float> scores(selected.size());
  std::ranges::transform(selected, scores.begin(), score);
  const auto last_kept = scores.begin() + static_cast<std::ptrdiff_t>(limit) - 1;
  std::nth_element(scores.begin(), last_kept, scores.end(), std::greater<>());
  const float least = *last_kept;
  auto n_equal = static_cast<std::ptrdiff_t>(limit) -
                 std::count_if(scores.begin(), last_kept, [least](float s) { return s > least; });
  std::erase_if(selected, [&](const TokensHead& t) {
    const float s = score(t);
    return s < least || (s == least && n_equal-- <= 0);
  });
}

// The least float that is at least `threshold`.
float AtLeast(double threshold) {
  constexpr float kMost = std::numeric_limits<float>::max();
  if (threshold > double{kMost}) return std::numeric_limits<float>::infinity();
  const auto rounded = static_cast<float>(threshold);
  return rounded < threshold ? std::nextafter(rounded, std::numeric_limits<float>::infinity()) : rounded;
}

}  // namespace

std::vector<TokensHead> SelectTokensHeads(std::span<const float> attention, int n_head, int n_positions,
                                          const MemoryParameters& parameters) {
  const double mf = parameters.memory_fraction, bf = parameters.bookkeeping_fraction;
  const double threshold = mf > 0 ? 1.0 / (mf * n_positions) : 0;
  const float least = std::max(AtLeast(threshold), std::numeric_limits<float>::denorm_min());  // s > 0
  // A float softmax can exceed 1, so BF = 1 is a rule of its own.
  const bool bookkeeping_allowed = bf < 1;

  // Written where the next one belongs, and kept where it is one: without a branch.
  std::vector<TokensHead> selected(mf == 0 ? static_cast<size_t>(n_head) : attention.size());
  size_t n = 0;
  for (int head = 0; head < n_head; ++head) {
    const float* const row = attention.data() + static_cast<size_t>(head) * static_cast<size_t>(n_positions);
    const double s0 = row[0];
    selected[n] = {head, 0};
    n += bookkeeping_allowed && s0 > 0 && (mf == 0 || s0 >= threshold) && (bf == 0 || s0 > bf) ? 1 : 0;
    if (mf == 0) continue;
    for (int position = 1; position < n_positions; ++position) {
      selected[n] = {head, position};
      n += row[position] >= least ? 1 : 0;
    }
  }
  selected.resize(n);
  LimitToFraction(attention, n_head, n_positions, parameters.head_fraction, selected);
  return selected;
}

}  // namespace mtm
