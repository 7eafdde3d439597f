// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_TESTS_MODEL_RANDOM_SEED_H_
#define MTM_TESTS_MODEL_RANDOM_SEED_H_

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <string>

namespace mtm {

// A random test's seed, printed: `fallback`, the same every time, unless MTM_TEST_SEED asks for another.
inline uint64_t RandomSeed(uint64_t fallback) {
  const char* text = std::getenv("MTM_TEST_SEED");
  const uint64_t seed = text == nullptr ? fallback : std::stoull(text);
  std::cout << "MTM_TEST_SEED=" << seed << std::endl;
  return seed;
}

}  // namespace mtm

#endif  // MTM_TESTS_MODEL_RANDOM_SEED_H_
