// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_GENERATION_PROMPT_CACHE_H_
#define MTM_SERVER_GENERATION_PROMPT_CACHE_H_

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <string>

#include "server/model/prompt_prefix.h"

namespace mtm {

// A prompt, as others may share it.
struct SharedPrompt {
  std::string owner;                // prompts are shared among those of one owner
  std::span<const int32_t> tokens;  // of who waits or runs: lives as long as that
  int n_layers = 0;                 // LayersBelowMemory
  int64_t bytes_per_token = 0;      // PromptPrefix::BytesPerToken
};

// Prompts that were run before, so that those that begin in the same way need not be run as a whole. The
// least recently used go first, and nobody before those that inherit from it. Not thread-safe.
class PromptCache {
 public:
  // Fewer tokens in common are not worth it.
  static constexpr int kMinTokens = 16;

  // Every search looks at all of them: small models' prompts would be tens of thousands.
  static constexpr size_t kMaxPrompts = 1024;

  explicit PromptCache(int64_t max_bytes, size_t max_prompts = kMaxPrompts)
      : max_bytes_(max_bytes), max_prompts_(max_prompts) {}

  struct Match {
    std::shared_ptr<const PromptPrefix> prefix;  // null: none
    int n_tokens = 0;                            // that it has in common with the prompt, its last left out
  };
  // The longest.
  Match Find(const SharedPrompt& prompt);

  // How many tokens Find would find.
  int CountKept(const SharedPrompt& prompt) const { return Longest(prompt).n_tokens; }
  // Will `waiting`, of which `n_kept` tokens are kept, have more in common with `running` once that has run?
  bool GainsFrom(const SharedPrompt& waiting, int n_kept, const SharedPrompt& running) const;

  // Is a prompt of which `n_found` tokens were found worth keeping, and does it fit?
  bool IsWorthKeeping(const SharedPrompt& prompt, int n_found) const;
  // Unless it and its parents are more than fits, or its parent has gone meanwhile, whose rows would be held
  // uncounted.
  void Add(const std::string& owner, std::shared_ptr<const PromptPrefix> prefix);

  int64_t bytes() const { return bytes_; }

 private:
  struct Entry {
    std::string owner;
    std::shared_ptr<const PromptPrefix> prefix;
  };
  Match Longest(const SharedPrompt& prompt) const;
  std::list<Entry>::iterator Find(const PromptPrefix* prefix);
  // Counts as used last, and its parents as used after it.
  void Touch(const PromptPrefix* prefix);

  const int64_t max_bytes_;
  const size_t max_prompts_;
  std::list<Entry> entries_;  // the most recently used first
  int64_t bytes_ = 0;
};

}  // namespace mtm

#endif  // MTM_SERVER_GENERATION_PROMPT_CACHE_H_
