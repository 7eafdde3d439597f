// SPDX-License-Identifier: Apache-2.0
#include "server/text/pretokenizer.h"

#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/text/random_text.h"

namespace mtm {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> Split(const std::string& text, bool use_jit = true) {
  const auto pretokenizer = Pretokenizer::Create(use_jit);
  EXPECT_TRUE(pretokenizer.ok()) << pretokenizer.status();
  std::vector<std::string> words;
  const absl::Status status =
      pretokenizer->Split(text, [&](std::string_view word) { words.emplace_back(word); });
  EXPECT_TRUE(status.ok()) << status;
  return words;
}

TEST(Pretokenizer, LettersDigitsAndTheRestSeparate) {
  EXPECT_THAT(Split("Hello, world 42nd!?"), ElementsAre("Hello", ",", " world", " 42", "nd", "!?"));
  EXPECT_THAT(Split("x\u00B2 \u2167"), ElementsAre("x", "\u00B2", " \u2167"));
}

TEST(Pretokenizer, OnlyLowerCaseContractionsSeparate) {
  EXPECT_THAT(Split("don't we'll I'M"), ElementsAre("don", "'t", " we", "'ll", " I", "'", "M"));
}

TEST(Pretokenizer, TheLastOfSeveralSpacesBelongsToTheWord) {
  EXPECT_THAT(Split("a   b\n\n c  "), ElementsAre("a", "  ", " b", "\n\n", " c", "  "));
}

// PCRE2's own \s would take the first, Python's re the last four; the White_Space property has neither.
TEST(Pretokenizer, MongolianSeparatorAndInformationSeparatorsAreNoSpaces) {
  for (const char* character : {"\u180E", "\u200B", "\x1C", "\x1D", "\x1E", "\x1F"}) {
    EXPECT_THAT(Split(std::string("!") + character + "!"), ElementsAre(std::string("!") + character + "!"));
  }
}

TEST(Pretokenizer, EveryUnicodeSpaceIsASpace) {
  for (const char* character :
       {"\t",     "\n",     "\v",     "\f",     "\r",     " ",      "\u0085", "\u00A0", "\u1680",
        "\u2000", "\u2001", "\u2002", "\u2003", "\u2004", "\u2005", "\u2006", "\u2007", "\u2008",
        "\u2009", "\u200A", "\u2028", "\u2029", "\u202F", "\u205F", "\u3000"}) {
    EXPECT_THAT(Split(std::string("!") + character), ElementsAre("!", character));
  }
}

TEST(Pretokenizer, AnEmptyTextHasNoWords) { EXPECT_THAT(Split(""), ElementsAre()); }

TEST(Pretokenizer, InterpretedAndCompiledPatternsAgree) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 50; ++round) {
    const std::string text = RandomText(500, &random);
    ASSERT_EQ(Split(text, true), Split(text, false));
  }
}

// No limit or stack of PCRE2's may depend on the length of a word.
TEST(Pretokenizer, WordsOfMegabytesAreSplit) {
  constexpr size_t kCharacters = 4 << 20;
  struct {
    std::string unit;
    size_t words_before_letter;  // only a plain space joins the word that follows
  } const kCases[] = {{"a", 0}, {" ", 1}, {"7", 1}, {"!", 1}, {"\n", 2}, {"\u00E9", 0}, {"\u3000", 2}};
  for (const bool use_jit : {true, false}) {
    for (const auto& [unit, words_before_letter] : kCases) {
      std::string text;
      for (size_t i = 0; i < kCharacters; ++i) text += unit;
      EXPECT_EQ(Split(text, use_jit).size(), 1u) << unit;
      EXPECT_EQ(Split(text + "z", use_jit).size(), words_before_letter + 1) << unit;
    }
  }
}

}  // namespace
}  // namespace mtm
