// SPDX-License-Identifier: Apache-2.0
#include "server/generation/forget.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/generation/occurrences.h"
#include "server/generation/window_text.h"

namespace mtm {
namespace {

using Tokens = std::vector<int32_t>;

// What is left of each window that is touched, by its number.
using Left = std::map<size_t, Tokens>;

// A memory's tokens, window by window.
struct Content {
  std::string name;
  Tokens tokens;
  std::vector<MemoryWindow> windows;
  std::vector<size_t> begins;  // [windows + 1]: first token of each

  explicit Content(const Memory& base)
      : name(base.info().name), tokens(base.tokens()), windows(base.windows()), begins{0} {
    for (const MemoryWindow& window : windows) {
      begins.push_back(begins.back() + static_cast<size_t>(window.n_tokens));
    }
  }
  std::span<const int32_t> window(size_t i) const {
    return std::span(tokens).subspan(begins[i], begins[i + 1] - begins[i]);
  }
};

absl::StatusOr<Left> WithoutTokens(const Content& content, const TokenRange& range) {
  const auto n_tokens = static_cast<int64_t>(content.tokens.size());
  if (range.first < 0 || range.count < 1 || range.first >= n_tokens || range.count > n_tokens - range.first) {
    return absl::NotFoundError(absl::StrCat("tokens: memory ", content.name, " has tokens 0 to ",
                                            n_tokens - 1, ", and not all of ", range.count, " tokens from ",
                                            range.first));
  }
  const auto begin = static_cast<size_t>(range.first), end = begin + static_cast<size_t>(range.count);
  Left left;
  for (size_t i = 0; i < content.windows.size(); ++i) {
    const size_t first = std::max(begin, content.begins[i]), last = std::min(end, content.begins[i + 1]);
    if (first >= last) continue;
    const auto window = content.window(i);
    Tokens& kept = left[i];
    kept.assign(window.begin(), window.begin() + (first - content.begins[i]));
    kept.insert(kept.end(), window.begin() + (last - content.begins[i]), window.end());
  }
  return left;
}

absl::StatusOr<Left> WithoutSource(const Content& content, const ForgottenSource& source) {
  Left left;
  std::set<std::string> others;
  for (size_t i = 0; i < content.windows.size(); ++i) {
    const std::string& label = content.windows[i].source;
    if (label == source.label) {
      left[i] = {};
    } else if (others.size() < 8) {
      others.insert("\"" + label + "\"");
    }
  }
  if (!left.empty()) return left;
  return absl::NotFoundError(absl::StrCat("source: memory ", content.name, " has no text labelled \"",
                                          source.label, "\"; it has ", absl::StrJoin(others, ", ")));
}

absl::StatusOr<Left> WithoutText(const Content& content, const ForgottenText& forgotten,
                                 const ModelConfig& config, const Tokenizer& tokenizer) {
  std::string text;
  for (const int32_t token : content.tokens) text += tokenizer.TokenBytes(token);
  const std::vector<ByteRange> found = FindOccurrences(text, forgotten.text);
  if (found.empty()) {
    return absl::NotFoundError(absl::StrCat("text: memory ", content.name, " does not hold this text"));
  }
  Left left;
  auto next = found.begin();
  size_t begin = 0;
  for (size_t i = 0; i < content.windows.size(); ++i) {
    const WindowText window(content.window(i), tokenizer);
    const size_t end = begin + window.text().size();
    std::vector<ByteRange> ranges;
    for (; next != found.end() && next->begin < end; ++next) {
      if (next->end > begin) {
        ranges.push_back({std::max(next->begin, begin) - begin, std::min(next->end, end) - begin});
      }
      if (next->end > end) break;  // goes on in the next window
    }
    if (!ranges.empty()) left[i] = window.Without(ranges, config.vocab_size);
    begin = end;
  }
  return left;
}

absl::StatusOr<Left> WhatIsLeft(const Content& content, const ForgottenContent& forgotten,
                                const ModelConfig& config, const Tokenizer* tokenizer) {
  if (const auto* range = std::get_if<TokenRange>(&forgotten)) return WithoutTokens(content, *range);
  if (const auto* source = std::get_if<ForgottenSource>(&forgotten)) return WithoutSource(content, *source);
  const absl::Status status = CheckForgettable(forgotten, tokenizer);
  if (!status.ok()) return status;
  return WithoutText(content, std::get<ForgottenText>(forgotten), config, *tokenizer);
}

absl::Status CheckLeft(const Content& content, const Left& left, const ModelConfig& config) {
  const bool nothing = left.size() == content.windows.size() &&
                       std::ranges::all_of(left, [](const auto& window) { return window.second.empty(); });
  if (nothing) {
    return absl::FailedPreconditionError(
        absl::StrCat("nothing would be left of memory ", content.name, "; delete it instead"));
  }
  for (const auto& [number, tokens] : left) {
    for (const int32_t token : tokens) {
      if (token >= 0 && token < config.vocab_size) continue;
      return absl::FailedPreconditionError(absl::StrCat("window ", number, " of memory ", content.name,
                                                        " has a token ", token, "; the vocabulary is 0 to ",
                                                        config.vocab_size - 1));
    }
  }
  return absl::OkStatus();
}

// The segments from the first touched window's to the last one's.
SegmentRun TouchedSegments(const Memory& base, const Left& left) {
  SegmentRun run{0, 1};
  const auto end = [&] {
    const WindowRange windows = WindowsOf(base, run);
    return windows.first + windows.count;
  };
  while (end() <= left.begin()->first) ++run.first;
  while (end() <= left.rbegin()->first) ++run.count;
  return run;
}

}  // namespace

absl::Status CheckForgettable(const ForgottenContent& content, const Tokenizer* tokenizer) {
  if (tokenizer != nullptr || !std::holds_alternative<ForgottenText>(content)) return absl::OkStatus();
  return absl::FailedPreconditionError("text: this model has no tokenizer; name tokens or a source");
}

absl::StatusOr<Revision> PlanForget(const Memory& base, const ForgottenContent& forgotten,
                                    const ModelConfig& config, const Tokenizer* tokenizer) {
  const Content content(base);
  const absl::StatusOr<Left> left = WhatIsLeft(content, forgotten, config, tokenizer);
  if (!left.ok()) return left.status();
  const absl::Status status = CheckLeft(content, *left, config);
  if (!status.ok()) return status;

  const size_t capacity = static_cast<size_t>(config.n_ctx) - base.spec().leading.size();
  Revision revision{.run = TouchedSegments(base, *left)};
  const WindowRange range = WindowsOf(base, revision.run);
  for (size_t i = range.first; i < range.first + range.count; ++i) {
    const MemoryWindow& window = content.windows[i];
    const auto touched = left->find(i);
    if (touched != left->end()) {
      CutIntoWindows(touched->second, capacity, window.source, revision.windows);
    } else {
      revision.windows.push_back({.n_tokens = window.n_tokens, .source = window.source, .copied = i});
    }
  }
  return revision;
}

}  // namespace mtm
