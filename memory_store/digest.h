// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_MEMORY_STORE_DIGEST_H_
#define MTM_MEMORY_STORE_DIGEST_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace mtm {

using Sha256Digest = std::array<std::byte, 32>;
inline constexpr size_t kDigestDigits = 64;  // in hexadecimal

// Incremental SHA-256. Not thread-safe.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void Update(std::span<const std::byte> data);
  Sha256Digest Finish();  // once, last

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// XXH3-64, seed 0: against accidents, not against attackers.
uint64_t BlockChecksum(std::span<const std::byte> data);
uint64_t BlockChecksum(std::string_view data);

std::string ToHex(std::span<const std::byte> bytes);  // lower case

// `text` is `n_digits` hexadecimal digits in lower case.
bool IsHex(std::string_view text, size_t n_digits);

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_DIGEST_H_
