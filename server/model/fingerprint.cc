// SPDX-License-Identifier: Apache-2.0
#include "server/model/fingerprint.h"

#include <charconv>
#include <span>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "memory_store/digest.h"

namespace mtm {
namespace {

std::string HexDigest(std::span<const std::byte> data) {
  Sha256 sha;
  sha.Update(data);
  return ToHex(sha.Finish());
}

std::string HexDigest(const std::string& text) { return HexDigest(std::as_bytes(std::span(text))); }

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

std::string Fingerprint(const ModelConfig& config, const std::map<std::string, TensorView>& tensors,
                        const std::function<void(const TensorView&)>& hashed) {
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
                                HexDigest(view.bytes), "\n");
        hashed(view);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();

  return HexDigest(absl::StrCat(ConfigText(config), absl::StrJoin(lines, "")));
}

std::string SeedFingerprint(const ModelConfig& config, uint64_t seed) {
  return HexDigest(absl::StrCat(ConfigText(config), "random weights, seed ", seed, "\n"));
}

}  // namespace mtm
