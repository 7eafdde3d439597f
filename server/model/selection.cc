// SPDX-License-Identifier: Apache-2.0
#include "server/model/selection.h"

#include <algorithm>
#include <cmath>

namespace mtm {
namespace {

// Keeps the ceil(f H t) most attended; ties go to the lower head, then the lower position.
void LimitToFraction(std::span<const float> attention, int n_head, int n_positions, double fraction,
                     std::vector<TokensHead>& selected) {
  const double limit = std::ceil(fraction * (double{1} * n_head * n_positions));
  if (limit >= static_cast<double>(selected.size())) return;
  const auto score = [&](const TokensHead& t) { return attention[size_t(t.head) * n_positions + t.position]; };
  const auto kept = selected.begin() + static_cast<ptrdiff_t>(limit);
  std::nth_element(selected.begin(), kept, selected.end(), [&](const TokensHead& a, const TokensHead& b) {
    return score(a) != score(b) ? score(a) > score(b) : a < b;
  });
  selected.erase(kept, selected.end());
  std::sort(selected.begin(), selected.end());
}

}  // namespace

std::vector<TokensHead> SelectTokensHeads(std::span<const float> attention, int n_head, int n_positions,
                                          const MemoryParameters& parameters) {
  const double mf = parameters.memory_fraction, bf = parameters.bookkeeping_fraction;
  const double threshold = mf > 0 ? 1.0 / (mf * n_positions) : 0;
  // A float softmax can exceed 1, so BF = 1 is a rule of its own.
  const bool bookkeeping_allowed = bf < 1;

  std::vector<TokensHead> selected;
  for (int head = 0; head < n_head; ++head) {
    const float* const row = attention.data() + size_t(head) * n_positions;
    const double s0 = row[0];
    if (bookkeeping_allowed && s0 > 0 && (mf == 0 || s0 >= threshold) && (bf == 0 || s0 > bf)) {
      selected.push_back({head, 0});
    }
    if (mf == 0) continue;
    for (int position = 1; position < n_positions; ++position) {
      const double s = row[position];
      if (s > 0 && s >= threshold) selected.push_back({head, position});
    }
  }
  LimitToFraction(attention, n_head, n_positions, parameters.head_fraction, selected);
  return selected;
}

}  // namespace mtm
