// SPDX-License-Identifier: Apache-2.0
#include "tests/stress/content.h"

#include <openssl/sha.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace mtm {

int64_t Content::n_tokens() const {
  int64_t n = 0;
  for (const Window& window : windows) n += static_cast<int64_t>(window.tokens.size());
  return n;
}

std::vector<Window> SplitText(const std::vector<int32_t>& tokens, const std::string& source, size_t window) {
  std::vector<Window> windows;
  for (size_t first = 0; first < tokens.size(); first += window) {
    const auto begin = tokens.begin() + static_cast<std::ptrdiff_t>(first);
    const auto n = static_cast<std::ptrdiff_t>(std::min(window, tokens.size() - first));
    windows.push_back({.tokens = {begin, begin + n}, .source = source});
  }
  return windows;
}

Content ForgetTokens(Content content, int64_t first, int64_t count) {
  int64_t begin = 0;
  for (Window& window : content.windows) {
    const auto size = static_cast<int64_t>(window.tokens.size());
    const int64_t from = std::clamp<int64_t>(first - begin, 0, size);
    const int64_t to = std::clamp<int64_t>(first + count - begin, 0, size);
    window.tokens.erase(window.tokens.begin() + from, window.tokens.begin() + to);
    begin += size;
  }
  std::erase_if(content.windows, [](const Window& window) { return window.tokens.empty(); });
  return content;
}

Content ForgetSource(Content content, const std::string& source) {
  std::erase_if(content.windows, [&](const Window& window) { return window.source == source; });
  return content;
}

std::vector<std::pair<std::string, int64_t>> Sources(const Content& content) {
  std::vector<std::pair<std::string, int64_t>> sources;
  for (const Window& window : content.windows) {
    if (sources.empty() || sources.back().first != window.source) sources.emplace_back(window.source, 0);
    sources.back().second += static_cast<int64_t>(window.tokens.size());
  }
  return sources;
}

std::string SourceDigest(const Content& content) {
  const Settings& settings = content.settings;
  const nlohmann::json json = {{"dtype", settings.half ? "F16" : "F32"},
                               {"head_dim", settings.head_dim},
                               {"layers", settings.layers},
                               {"leading", settings.leading},
                               {"model_fingerprint", settings.model_fingerprint},
                               {"n_head", settings.n_head}};
  std::string bytes = "mtm-source 2\n" + json.dump() + "\n";
  for (const Window& window : content.windows) {
    bytes += std::to_string(window.tokens.size()) + "\n";
    bytes.append(reinterpret_cast<const char*>(window.tokens.data()), window.tokens.size() * sizeof(int32_t));
  }
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest);
  std::string hex;
  for (const unsigned char byte : digest) {
    for (const int nibble : {byte >> 4, byte & 15}) hex += "0123456789abcdef"[nibble];
  }
  return hex;
}

}  // namespace mtm
