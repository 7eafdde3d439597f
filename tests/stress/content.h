// SPDX-License-Identifier: Apache-2.0
// What a version of a memory is made of, as a client can work it out for itself: windows of tokens, and the
// digest of them.
#ifndef MTM_TESTS_STRESS_CONTENT_H_
#define MTM_TESTS_STRESS_CONTENT_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace mtm {

struct Settings {
  std::string model_fingerprint;
  int n_head = 0;
  int head_dim = 0;
  std::vector<int> layers;
  std::vector<int32_t> leading;
  bool half = false;  // F16 instead of F32

  friend bool operator==(const Settings&, const Settings&) = default;
};

struct Window {
  std::vector<int32_t> tokens;
  std::string source;

  friend bool operator==(const Window&, const Window&) = default;
};

struct Content {
  Settings settings;
  std::vector<Window> windows;

  int64_t n_tokens() const;
  friend bool operator==(const Content&, const Content&) = default;
};

// The windows of a text: `window` tokens each, the last one shorter.
std::vector<Window> SplitText(const std::vector<int32_t>& tokens, const std::string& source, size_t window);

// Without tokens [first, first + count), or without the windows of a source.
Content ForgetTokens(Content content, int64_t first, int64_t count);
Content ForgetSource(Content content, const std::string& source);

// Label and number of tokens of each run of windows with the same label.
std::vector<std::pair<std::string, int64_t>> Sources(const Content& content);

// FORMAT.md, `source_digest`.
std::string SourceDigest(const Content& content);

}  // namespace mtm

#endif  // MTM_TESTS_STRESS_CONTENT_H_
