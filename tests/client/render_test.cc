// SPDX-License-Identifier: Apache-2.0
#include "client/render/columns.h"
#include "client/render/format.h"
#include "client/render/progress_bar.h"
#include "client/render/table.h"
#include "client/render/text_width.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mtm::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr Style kPlain{false};

TEST(DisplayWidthTest, CountsColumnsNotBytes) {
  EXPECT_EQ(DisplayWidth("cats"), 4);
  EXPECT_EQ(DisplayWidth("Zürich"), 6);
  EXPECT_EQ(DisplayWidth("猫が好き"), 8);
  EXPECT_EQ(DisplayWidth("🐱"), 2);
  EXPECT_EQ(DisplayWidth("e\u0301"), 1);
}

TEST(DisplayWidthTest, WhatIsNoUtf8IsOneColumnAByte) {
  EXPECT_EQ(DisplayWidth("a\xFF\xC3"), 3);
  EXPECT_EQ(DisplayWidth("\xED\xA0\x80"), 3);  // a surrogate
  EXPECT_EQ(DisplayWidth("\xC0\x80"), 2);      // overlong
}

TEST(EscapeControlTest, NothingReachesTheTerminalsState) {
  EXPECT_EQ(EscapeControl("a\nb\tc"), "a⏎b⇥c");
  EXPECT_EQ(EscapeControl("\x1b[2J"), "\\x1B[2J");
  EXPECT_EQ(EscapeControl("\u202Eevil"), "\\u202Eevil");
  EXPECT_EQ(EscapeControl("\u009B"), "\\x9B");  // CSI in eight bits
  EXPECT_EQ(EscapeControl("ok \xE2\x82"), "ok \uFFFD\uFFFD");
  EXPECT_EQ(EscapeControlKeepingLines("a\n\tb\r"), "a\n\tb\\x0D");
}

TEST(FitTest, PadsAndCuts) {
  EXPECT_EQ(FitLeft("cat", 5), "cat  ");
  EXPECT_EQ(FitRight("cat", 5), "  cat");
  EXPECT_EQ(FitLeft("catalogue", 5), "cata…");
  EXPECT_EQ(FitLeft("猫が好き", 4), "猫… ");  // a wide one does not fit into the third column
  EXPECT_EQ(FitLeft("cat", 0), "");
}

TEST(WrapTextTest, BreaksAtSpaces) {
  EXPECT_THAT(WrapText("the quick brown fox", 10), ElementsAre("the quick", "brown fox"));
  EXPECT_THAT(WrapText("the quick brown fox", 9), ElementsAre("the quick", "brown fox"));
  EXPECT_THAT(WrapText("the quick  brown fox  ", 9), ElementsAre("the quick", "brown fox"));
}

TEST(WrapTextTest, KeepsLineFeedsAndLeadingSpaces) {
  EXPECT_THAT(WrapText(" a\n\n  b", 10), ElementsAre(" a", "", "  b"));
  EXPECT_THAT(WrapText("", 10), ElementsAre(""));
}

TEST(WrapTextTest, CutsWordsThatDoNotFit) {
  EXPECT_THAT(WrapText("abcdefgh ij", 4), ElementsAre("abcd", "efgh", "ij"));
  EXPECT_THAT(WrapText("猫が好き", 5), ElementsAre("猫が", "好き"));
  EXPECT_THAT(WrapText("     x", 3), ElementsAre("   ", "x"));
}

TEST(SideBySideTest, TwoColumns) {
  const std::string out =
      SideBySide({"without", "one two three four five six seven"}, {"with", "猫 cats"}, 60, kPlain);
  EXPECT_EQ(out,
            "without                      │ with                         \n"
            "─────────────────────────────┼──────────────────────────────\n"
            "one two three four five six  │ 猫 cats\n"
            "seven                        │ \n");
}

TEST(SideBySideTest, EveryLineIsWithinTheWidth) {
  const std::string long_text(500, 'x');
  for (const int width : {10, 24, 51, 53, 80, 133}) {
    const std::string out = SideBySide({"left", long_text}, {"right", "猫" + long_text}, width, kPlain);
    size_t start = 0;
    for (size_t end; (end = out.find('\n', start)) != std::string::npos; start = end + 1) {
      if (width >= 20) {
        EXPECT_LE(DisplayWidth(out.substr(start, end - start)), width);
      }
    }
  }
}

TEST(SideBySideTest, StacksWhereItIsNarrow) {
  EXPECT_EQ(SideBySide({"without", "one"}, {"with", "two"}, 40, kPlain),
            "── without ──\none\n\n── with ──\ntwo\n");
}

TEST(StackedTest, LeavesTextsAsTheyAre) {
  EXPECT_EQ(Stacked({"a", "x\ty\n"}, {"b", " z"}, kPlain), "── a ──\nx\ty\n\n\n── b ──\n z\n");
}

TEST(TableTest, AlignsByDisplayWidth) {
  EXPECT_EQ(RenderTable({{"name"}, {"n", Align::kRight}, {"last"}}, {{"cats", "5", "x"}, {"猫", "1,024", ""}},
                        0, kPlain),
            "name      n  last\n"
            "cats      5  x\n"
            "猫    1,024\n");
}

TEST(TableTest, WrapsTheLastColumnUnderItself) {
  EXPECT_EQ(RenderTable({{"a"}, {"text"}}, {{"1", "one two three four five six seven"}}, 30, kPlain),
            "a  text\n"
            "1  one two three four five six\n"
            "   seven\n");
}

TEST(TableTest, ColoursTakeNoColumns) {
  const std::string out = RenderTable({{"a"}, {"b"}}, {{"1", "2"}}, 0, Style{true});
  EXPECT_EQ(out, "\x1b[1ma  b\x1b[0m\n1  2\n");
}

TEST(ProgressTest, ShowsBarCountRateAndTimeLeft) {
  EXPECT_EQ(RenderProgress("cats", {.done = 1024, .total = 4096, .elapsed = absl::Seconds(2)}, 80),
            "cats  ███████▌                        1,024/4,096 tokens  25 %  512/s  7 s left");
}

TEST(ProgressTest, BytesHaveUnits) {
  EXPECT_EQ(
      RenderProgress(
          "cats",
          {.unit = ProgressUnit::kBytes, .done = 1 << 20, .total = 4 << 20, .elapsed = absl::Seconds(2)}, 58),
      "cats  1.0 MiB/4.0 MiB  25 %  512.0 KiB/s  7 s left");
}

TEST(ProgressTest, RateCountsFromWhereItWasTakenUp) {
  EXPECT_THAT(
      RenderProgress("cats", {.first = 1024, .done = 2048, .total = 4096, .elapsed = absl::Seconds(2)}, 80),
      HasSubstr("50 %  512/s  5 s left"));
}

TEST(ProgressTest, NarrowTerminalsGetLess) {
  const Progress progress = {.done = 1024, .total = 4096, .elapsed = absl::Seconds(2)};
  for (int width = 0; width < 100; ++width) {
    EXPECT_LE(DisplayWidth(RenderProgress("cats", progress, width)), width);
  }
  EXPECT_EQ(RenderProgress("cats", progress, 32), "cats  1,024/4,096 tokens  25 %");
}

TEST(ProgressTest, UnknownTotalAndTheEnd) {
  EXPECT_EQ(RenderProgress("cats", {.done = 1}, 80), "cats  1 token");
  const std::string full =
      RenderProgress("cats", {.done = 4096, .total = 4096, .elapsed = absl::Seconds(2)}, 80);
  EXPECT_THAT(full, HasSubstr("100 %"));
  EXPECT_EQ(full.find("left"), std::string::npos);
  EXPECT_THAT(RenderProgress("cats", {.done = 9999, .total = 4096, .elapsed = absl::Seconds(2)}, 80),
              HasSubstr("100 %"));
}

TEST(FormatTest, Numbers) {
  EXPECT_EQ(FormatCount(0), "0");
  EXPECT_EQ(FormatCount(999), "999");
  EXPECT_EQ(FormatCount(1234567), "1,234,567");
  EXPECT_EQ(FormatCount(-1234), "-1,234");
  EXPECT_EQ(FormatCount(-123), "-123");
  EXPECT_EQ(FormatCounted(1, "token"), "1 token");
  EXPECT_EQ(FormatCounted(2000, "token"), "2,000 tokens");
  EXPECT_EQ(FormatBytes(1023), "1023 B");
  EXPECT_EQ(FormatBytes(1536), "1.5 KiB");
  EXPECT_EQ(FormatBytes((1 << 20) - 1), "1.0 MiB");
  EXPECT_EQ(FormatPercent(0.0433), "4.3 %");
}

TEST(FormatTest, Durations) {
  EXPECT_EQ(FormatElapsed(absl::Milliseconds(840)), "0.84 s");
  EXPECT_EQ(FormatElapsed(absl::Milliseconds(9996)), "10.0 s");
  EXPECT_EQ(FormatElapsed(absl::Milliseconds(59960)), "1 min 00 s");
  EXPECT_EQ(FormatElapsed(absl::Seconds(3599)), "59 min 59 s");
  EXPECT_EQ(FormatElapsed(absl::Minutes(127)), "2 h 07 min");
  EXPECT_EQ(FormatElapsed(absl::Seconds(-1)), "0.00 s");
}

TEST(FormatTest, LayersAsRanges) {
  EXPECT_EQ(FormatLayers({}), "");
  EXPECT_EQ(FormatLayers(std::vector<int32_t>{7}), "7");
  EXPECT_EQ(FormatLayers(std::vector<int32_t>{1, 2, 3, 7, 9, 10}), "1-3,7,9-10");
}

}  // namespace
}  // namespace mtm::client
