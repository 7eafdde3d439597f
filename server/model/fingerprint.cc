// SPDX-License-Identifier: Apache-2.0
#include "server/model/fingerprint.h"

#include <openssl/sha.h>

#include <charconv>
#include <thread>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace mtm {
namespace {

std::string Sha256(const void* data, size_t size) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(static_cast<const unsigned char*>(data), size, digest);
  return absl::BytesToHexString({reinterpret_cast<const char*>(digest), sizeof digest});
}

std::string Sha256(const std::string& text) { return Sha256(text.data(), text.size()); }

// Every double has a text of its own, unlike StrCat's six digits.
std::string ShortestText(double value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

std::string ConfigText(const ModelConfig& config) {
  return absl::StrCat("gpt2 n_layer=", config.n_layer, " n_head=", config.n_head, " n_embd=", config.n_embd,
                      " n_ctx=", config.n_ctx, " n_inner=", config.n_inner, " vocab_size=", config.vocab_size,
                      " layer_norm_epsilon=", ShortestText(config.layer_norm_epsilon), "\n");
}

}  // namespace

std::string Fingerprint(const ModelConfig& config, const std::map<std::string, TensorView>& tensors) {
  std::vector<std::pair<const std::string*, const TensorView*>> order;
  for (const auto& [name, view] : tensors) order.emplace_back(&name, &view);

  // Each tensor is hashed by itself, so that all cores take part; the result is the hash of a text of hashes.
  std::vector<std::string> lines(order.size());
  const size_t n_threads = std::max(1u, std::thread::hardware_concurrency());
  std::vector<std::thread> threads;
  for (size_t first = 0; first < n_threads; ++first) {
    threads.emplace_back([&, first] {
      for (size_t i = first; i < order.size(); i += n_threads) {
        const TensorView& view = *order[i].second;
        lines[i] = absl::StrCat(*order[i].first, " ", view.dtype, " [", absl::StrJoin(view.shape, ","), "] ",
                                Sha256(view.bytes.data(), view.bytes.size()), "\n");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();

  return Sha256(absl::StrCat(ConfigText(config), absl::StrJoin(lines, "")));
}

std::string SeedFingerprint(const ModelConfig& config, uint64_t seed) {
  return Sha256(absl::StrCat(ConfigText(config), "random weights, seed ", seed, "\n"));
}

}  // namespace mtm
