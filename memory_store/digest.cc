// SPDX-License-Identifier: Apache-2.0
#include "memory_store/digest.h"

#include <openssl/evp.h>
#include <xxhash.h>

#include <algorithm>
#include <new>

#include "absl/strings/escaping.h"

namespace mtm {

struct Sha256::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  // Fails for want of memory only.
  if (state_->context == nullptr || EVP_DigestInit_ex(state_->context, EVP_sha256(), nullptr) != 1) {
    throw std::bad_alloc();
  }
}

Sha256::~Sha256() = default;

void Sha256::Update(std::span<const std::byte> data) {
  EVP_DigestUpdate(state_->context, data.data(), data.size());
}

Sha256Digest Sha256::Finish() {
  Sha256Digest digest;
  EVP_DigestFinal_ex(state_->context, reinterpret_cast<unsigned char*>(digest.data()), nullptr);
  return digest;
}

uint64_t BlockChecksum(std::span<const std::byte> data) { return XXH3_64bits(data.data(), data.size()); }

uint64_t BlockChecksum(std::string_view data) { return XXH3_64bits(data.data(), data.size()); }

std::string ToHex(std::span<const std::byte> bytes) {
  return absl::BytesToHexString({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

bool IsHex(std::string_view text, size_t n_digits) {
  return text.size() == n_digits && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

}  // namespace mtm
