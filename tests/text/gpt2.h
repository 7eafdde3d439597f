// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_TESTS_TEXT_GPT2_H_
#define MTM_TESTS_TEXT_GPT2_H_

#include <filesystem>
#include <string>

#include "gtest/gtest.h"
#include "server/text/tokenizer.h"

namespace mtm {

inline std::filesystem::path Gpt2Folder() { return std::filesystem::path(MTM_TESTDATA) / "tokenizer"; }

// GPT-2's own tokenizer, loaded once.
inline const Tokenizer& Gpt2() {
  static const Tokenizer* const tokenizer = [] {
    auto loaded = Tokenizer::Load(Gpt2Folder());
    if (!loaded.ok()) ADD_FAILURE() << loaded.status();
    return std::move(loaded).value().release();
  }();
  return *tokenizer;
}

inline std::string Repeat(const std::string& unit, size_t bytes) {
  std::string text;
  while (text.size() + unit.size() <= bytes) text += unit;
  return text;
}

}  // namespace mtm

#endif  // MTM_TESTS_TEXT_GPT2_H_
