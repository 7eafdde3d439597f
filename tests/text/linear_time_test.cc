// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <ctime>
#include <string>

#include "gtest/gtest.h"
#include "tests/text/gpt2.h"

namespace mtm {
namespace {

struct Text {
  const char* name;
  std::string (*make)(size_t bytes);
};

std::string DifferentWords(size_t bytes) {
  std::string text;
  for (uint32_t i = 0; text.size() + 8 <= bytes; ++i) {
    text += ' ';
    for (uint32_t n = i * 2654435761u, k = 0; k < 7; ++k, n /= 26) text += static_cast<char>('a' + n % 26);
  }
  return text;
}

std::string RandomLetters(size_t bytes) {
  std::string text;
  for (uint32_t n = 1; text.size() < bytes; n = n * 1664525u + 1013904223u)
    text += static_cast<char>('a' + (n >> 24) % 26);
  return text;
}

const Text kTexts[] = {
    {"OneLetter", [](size_t n) { return Repeat("a", n); }},
    {"Spaces", [](size_t n) { return Repeat(" ", n); }},
    {"SpacesThenLetter", [](size_t n) { return Repeat(" ", n - 1) + "a"; }},
    {"Newlines", [](size_t n) { return Repeat("\n", n); }},
    {"Emoji", [](size_t n) { return Repeat("\U0001F600", n); }},
    {"Digits", [](size_t n) { return Repeat("1234567890", n); }},
    {"Punctuation", [](size_t n) { return Repeat("=-", n); }},
    {"Apostrophes", [](size_t n) { return Repeat("'", n); }},
    {"Contractions", [](size_t n) { return Repeat("'s", n); }},
    {"LetterAndManySpaces", [](size_t n) { return Repeat("a" + std::string(999, ' '), n); }},
    {"LetterAndSpaces", [](size_t n) { return Repeat("a    ", n); }},
    {"MixedSpaces", [](size_t n) { return Repeat(" \n\t\u00A0", n); }},
    {"Chinese", [](size_t n) { return Repeat("\u65E5\u672C\u8A9E", n); }},
    {"RandomLetters", RandomLetters},
    {"DifferentWords", DifferentWords},
};

double CpuSeconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Of several runs the fastest: what other programs on the machine take is not the text's.
double SecondsToEncode(const std::string& text) {
  double best = 1e9;
  for (int run = 0; run < 4; ++run) {
    const double start = CpuSeconds();
    EXPECT_TRUE(Gpt2().Encode(text).ok());
    best = std::min(best, CpuSeconds() - start);
  }
  return best;
}

class LinearTime : public testing::TestWithParam<Text> {};

// Four times the text costs four times the time, some more where caches end, and sixteen times if it is
// quadratic.
TEST_P(LinearTime, FourTimesTheTextCostsAboutFourTimesTheTime) {
  constexpr size_t kBytes = 128 << 10;
  constexpr double kMostRatio = 10;
  const std::string small = GetParam().make(kBytes);
  const std::string large = GetParam().make(4 * kBytes);
  double ratio = 0;
  for (int attempt = 0; attempt < 3; ++attempt) {
    ratio = SecondsToEncode(large) / SecondsToEncode(small);
    if (ratio < kMostRatio) return;
  }
  FAIL() << "ratio " << ratio;
}

INSTANTIATE_TEST_SUITE_P(Texts, LinearTime, testing::ValuesIn(kTexts),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace mtm
