// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_TESTS_SUPPORT_SYNTHETIC_KEYS_H_
#define MTM_TESTS_SUPPORT_SYNTHETIC_KEYS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <random>
#include <span>
#include <vector>

namespace mtm {

// Keys that lie as those of a model do, as far as that matters to an index: about a thousand centres a head,
// and numbers that vary in few directions, the i-th by 1/i. Quick to make: noise comes from a table. The same
// for the same seed; other seeds have other keys about the same centres.
class SyntheticKeys {
 public:
  SyntheticKeys(uint32_t seed, int head_dim)
      : dim_(static_cast<size_t>(head_dim)), random_(seed), noise_((size_t{1} << 20) + dim_) {
    std::mt19937 table(98);
    std::normal_distribution<float> normal;
    for (float& x : noise_) x = normal(table);
  }

  // Rows [n, head_dim] for the head with this number.
  void Fill(int head, std::span<float> rows) {
    const std::vector<float>& centres = CentresOf(head);
    for (size_t row = 0; row < rows.size(); row += dim_) {
      const float* const centre = &centres[random_() % kCentres * dim_];
      const float* const noise = &noise_[random_() % (size_t{1} << 20)];
      for (size_t i = 0; i < dim_; ++i) rows[row + i] = centre[i] + 2 * noise[i] / static_cast<float>(1 + i);
    }
  }

 private:
  static constexpr size_t kCentres = 1000;

  const std::vector<float>& CentresOf(int head) {
    std::vector<float>& centres = centres_[head];
    if (!centres.empty()) return centres;
    centres.resize(kCentres * dim_);
    std::mt19937 random(99 + static_cast<uint32_t>(head));
    std::normal_distribution<float> normal;
    for (size_t i = 0; i < centres.size(); ++i) {
      centres[i] = 4 * normal(random) / static_cast<float>(1 + i % dim_);
    }
    return centres;
  }

  const size_t dim_;
  std::mt19937 random_;
  std::vector<float> noise_;
  std::map<int, std::vector<float>> centres_;
};

}  // namespace mtm

#endif  // MTM_TESTS_SUPPORT_SYNTHETIC_KEYS_H_
