// SPDX-License-Identifier: Apache-2.0
#include "server/text/utf8.h"

#include <algorithm>
#include <string>

#include "gtest/gtest.h"
#include "tests/text/random_text.h"

namespace mtm {
namespace {

struct Case {
  std::string bytes;
  std::string replaced;  // R stands for U+FFFD
};

std::string WithReplacements(const std::string& pattern) {
  std::string text;
  for (const char c : pattern) text += c == 'R' ? "\xEF\xBF\xBD" : std::string(1, c);
  return text;
}

TEST(Utf8, EveryScalarValueIsValid) {
  std::string all;
  for (uint32_t c = 0; c < 0x110000; ++c) {
    if (c < 0xD800 || c > 0xDFFF) AppendUtf8(c, &all);
  }
  EXPECT_EQ(FindInvalidUtf8(all), std::nullopt);
  EXPECT_EQ(ReplaceInvalidUtf8(all), all);
  EXPECT_EQ(SettledUtf8Length(all), all.size());
}

TEST(Utf8, SurrogatesAreInvalid) {
  for (uint32_t c = 0xD800; c < 0xE000; ++c) {
    std::string text;
    AppendUtf8(c, &text);
    ASSERT_EQ(FindInvalidUtf8(text), 0u) << c;
    ASSERT_EQ(ReplaceInvalidUtf8(text), WithReplacements("RRR")) << c;
  }
}

// Expected values are Python's bytes.decode("utf-8", "replace").
TEST(Utf8, EveryMaximalSubpartIsReplacedOnce) {
  const Case cases[] = {
      {"", ""},
      {"\x80", "R"},
      {"a\x80z", "aRz"},
      {"\xC3", "R"},
      {"\xC0\xAF", "RR"},
      {"\xC1\xBF", "RR"},
      {"\xE0\x80\xAF", "RRR"},
      {"\xE0\xA0", "R"},
      {"\xE0\xA0z", "Rz"},
      {"\xED\xA0\x80", "RRR"},
      {"\xF0\x80\x80\x80", "RRRR"},
      {"\xF0\x9F\x98", "R"},
      {"\xF0\x9F\x98z", "Rz"},
      {"\xF0\x9F\xF0\x9F\x98\x80", "R\xF0\x9F\x98\x80"},
      {"\xF4\x90\x80\x80", "RRRR"},
      {"\xF5\x80\x80\x80", "RRRR"},
      {"\xFF\xFE", "RR"},
      {"\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64", "aRRRbRcRRd"},
  };
  for (const Case& c : cases) EXPECT_EQ(ReplaceInvalidUtf8(c.bytes), WithReplacements(c.replaced));
}

TEST(Utf8, TheFirstBadSequenceIsNamedByItsBeginning) {
  for (size_t before = 0; before < 20; ++before) {  // across the step of eight bytes
    const std::string prefix(before, 'x');
    EXPECT_EQ(FindInvalidUtf8(prefix + "\xE2\x82zzzzzzzzz"), before);
    EXPECT_EQ(FindInvalidUtf8(prefix + "\xE2\x82"), before);
    EXPECT_EQ(FindInvalidUtf8(prefix + "\xFFzzzzzzzzz"), before);
    EXPECT_EQ(FindInvalidUtf8(prefix + "\xE2\x82\xAC\x80"), before + 3);
  }
}

TEST(Utf8, OnlyAnUnfinishedLastCharacterIsNotSettled) {
  EXPECT_EQ(SettledUtf8Length(""), 0u);
  EXPECT_EQ(SettledUtf8Length("abc"), 3u);
  EXPECT_EQ(SettledUtf8Length("a\xE2"), 1u);
  EXPECT_EQ(SettledUtf8Length("a\xE2\x82"), 1u);
  EXPECT_EQ(SettledUtf8Length("a\xE2\x82\xAC"), 4u);
  EXPECT_EQ(SettledUtf8Length("\xF0\x9F\x98"), 0u);
}

TEST(Utf8, WhatCanNeverCompleteIsSettled) {
  for (const std::string bytes :
       {"\xFF", "\x80", "\xC0", "\xE0\x80", "\xED\xA0", "\xF4\x90", "\xF5\x80\x80", "\x80\x80\x80"}) {
    EXPECT_EQ(SettledUtf8Length(bytes), bytes.size());
  }
}

TEST(Utf8, ReplacingSettledPartsOneAfterAnotherIsReplacingAll) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 20000; ++round) {
    // Bytes from 0x80 on alone make all kinds of broken sequences likely.
    std::string bytes = RandomBytes(1 + random() % 12, &random);
    for (char& byte : bytes) byte = static_cast<char>(byte | 0x80);
    std::string pending, text;
    for (const char byte : bytes) {
      pending.push_back(byte);
      const size_t settled = SettledUtf8Length(pending);
      text += ReplaceInvalidUtf8(pending.substr(0, settled));
      pending.erase(0, settled);
      ASSERT_LT(pending.size(), 4u);
    }
    ASSERT_EQ(text + ReplaceInvalidUtf8(pending), ReplaceInvalidUtf8(bytes));
    ASSERT_EQ(FindInvalidUtf8(text), std::nullopt);
  }
}

}  // namespace
}  // namespace mtm
