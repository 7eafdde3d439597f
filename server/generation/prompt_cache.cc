// SPDX-License-Identifier: Apache-2.0
#include "server/generation/prompt_cache.h"

#include <algorithm>
#include <utility>

namespace mtm {
namespace {

// Tokens of `prompt` that need not be run where `tokens` were; its last must be, for its logits.
int Spared(const SharedPrompt& prompt, std::span<const int32_t> tokens) {
  const auto most = prompt.tokens.first(prompt.tokens.size() - 1);
  const auto n = static_cast<int>(std::ranges::mismatch(most, tokens).in1 - most.begin());
  return n < PromptCache::kMinTokens ? 0 : n;
}

}  // namespace

PromptCache::Match PromptCache::Longest(const SharedPrompt& prompt) const {
  Match longest;
  for (const Entry& entry : entries_) {
    if (entry.owner != prompt.owner || entry.prefix->n_layers() != prompt.n_layers) continue;
    const int n = Spared(prompt, entry.prefix->tokens());
    if (n > longest.n_tokens) longest = {entry.prefix, n};
  }
  return longest;
}

PromptCache::Match PromptCache::Find(const SharedPrompt& prompt) {
  Match match = Longest(prompt);
  // Who holds these tokens itself: chains stay short.
  while (match.prefix != nullptr && match.n_tokens <= match.prefix->n_inherited()) {
    match.prefix = match.prefix->parent();
  }
  Touch(match.prefix.get());
  return match;
}

bool PromptCache::GainsFrom(const SharedPrompt& waiting, int n_kept, const SharedPrompt& running) const {
  if (waiting.owner != running.owner || waiting.n_layers != running.n_layers) return false;
  const int n = Spared(waiting, running.tokens);
  return n > 0 && n >= n_kept + kMinTokens && IsWorthKeeping(running, CountKept(running));
}

bool PromptCache::IsWorthKeeping(const SharedPrompt& prompt, int n_found) const {
  const auto n_tokens = static_cast<int64_t>(prompt.tokens.size());  // its parents are held too
  return prompt.n_layers > 0 && n_tokens - n_found >= kMinTokens &&
         n_tokens * prompt.bytes_per_token <= max_bytes_;
}

void PromptCache::Add(const std::string& owner, std::shared_ptr<const PromptPrefix> prefix) {
  const PromptPrefix* const parent = prefix->parent().get();
  if (parent != nullptr && Find(parent) == entries_.end()) return;
  int64_t together = 0;
  for (const PromptPrefix* p = prefix.get(); p != nullptr; p = p->parent().get()) together += p->bytes();
  if (together > max_bytes_) return;
  bytes_ += prefix->bytes();
  entries_.push_front({owner, std::move(prefix)});
  Touch(parent);
  while (bytes_ > max_bytes_ || entries_.size() > max_prompts_) {
    bytes_ -= entries_.back().prefix->bytes();
    entries_.pop_back();
  }
}

std::list<PromptCache::Entry>::iterator PromptCache::Find(const PromptPrefix* prefix) {
  return std::ranges::find(entries_, prefix, [](const Entry& entry) { return entry.prefix.get(); });
}

void PromptCache::Touch(const PromptPrefix* prefix) {
  for (; prefix != nullptr; prefix = prefix->parent().get()) {
    const auto entry = Find(prefix);
    if (entry != entries_.end()) entries_.splice(entries_.begin(), entries_, entry);
  }
}

}  // namespace mtm
