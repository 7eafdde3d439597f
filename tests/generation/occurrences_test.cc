// SPDX-License-Identifier: Apache-2.0
#include "server/generation/occurrences.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <iostream>
#include <random>
#include <string>

namespace mtm {

void PrintTo(const ByteRange& range, std::ostream* os) {
  *os << "[" << range.begin << ", " << range.end << ")";
}

namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(OccurrencesTest, AreFoundWhereverTheyAre) {
  EXPECT_THAT(FindOccurrences("cat, cat; cat", "cat"),
              ElementsAre(ByteRange{0, 3}, ByteRange{5, 8}, ByteRange{10, 13}));
  EXPECT_THAT(FindOccurrences("cat", "cat"), ElementsAre(ByteRange{0, 3}));
  EXPECT_THAT(FindOccurrences("a cat", "dog"), IsEmpty());
  EXPECT_THAT(FindOccurrences("ca", "cat"), IsEmpty());
  EXPECT_THAT(FindOccurrences("", "cat"), IsEmpty());
}

TEST(OccurrencesTest, ThatOverlapOrTouchAreOne) {
  EXPECT_THAT(FindOccurrences("xabababx", "aba"), ElementsAre(ByteRange{1, 6}));
  EXPECT_THAT(FindOccurrences("catcat cat", "cat"), ElementsAre(ByteRange{0, 6}, ByteRange{7, 10}));
  EXPECT_THAT(FindOccurrences("aaaa", "a"), ElementsAre(ByteRange{0, 4}));
}

TEST(OccurrencesTest, AreThoseThatAScanFinds) {
  const auto seed = std::random_device()();
  std::cout << "seed " << seed << "\n";
  std::mt19937 random(seed);
  for (int i = 0; i < 2000; ++i) {
    std::string text(random() % 60, 'a'), pattern(1 + random() % 6, 'a');
    for (std::string* bytes : {&text, &pattern}) {
      for (char& c : *bytes) c = static_cast<char>('a' + random() % 2);
    }
    std::string expected(text.size(), '.'), found = expected;
    for (size_t at = text.find(pattern); at != std::string::npos; at = text.find(pattern, at + 1)) {
      expected.replace(at, pattern.size(), pattern.size(), 'x');
    }
    size_t end = 0;
    for (const ByteRange& range : FindOccurrences(text, pattern)) {
      EXPECT_TRUE(range.begin > end || (end == 0 && range.begin == 0)) << "ranges are apart, and ascend";
      end = range.end;
      found.replace(range.begin, range.end - range.begin, range.end - range.begin, 'x');
    }
    EXPECT_EQ(found, expected) << text << " " << pattern;
  }
}

// A search that begins anew behind each mismatch would take hours.
TEST(OccurrencesTest, TakeLinearTime) {
  const std::string text(8 << 20, 'a');
  EXPECT_THAT(FindOccurrences(text, std::string(4 << 20, 'a') + "b"), IsEmpty());
  EXPECT_THAT(FindOccurrences(text, std::string(4 << 20, 'a')), ElementsAre(ByteRange{0, 8 << 20}));
}

}  // namespace
}  // namespace mtm
