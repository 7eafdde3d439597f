// SPDX-License-Identifier: Apache-2.0
#include "client/commands/text_printer.h"

#include <sstream>

#include "gtest/gtest.h"

namespace mtm::client {
namespace {

TEST(TextPrinterTest, OneSampleComesAtOnceAndEndsTheLine) {
  std::ostringstream out;
  TextPrinter printer(out, 1, /*escape=*/false);
  printer.Add(0, " cats");
  EXPECT_EQ(out.str(), " cats");
  printer.Add(0, "\n\x1b");
  printer.Finish(0);
  EXPECT_EQ(out.str(), " cats\n\x1b\n");
}

TEST(TextPrinterTest, SeveralComeOneAfterTheOther) {
  std::ostringstream out;
  TextPrinter printer(out, 3, /*escape=*/false);
  printer.Add(0, "a");
  printer.Add(1, "x");
  printer.Add(2, "p");
  EXPECT_EQ(out.str(), "== sample 1 of 3 ==\na");
  printer.Finish(1);
  printer.Finish(0);
  EXPECT_EQ(out.str(), "== sample 1 of 3 ==\na\n== sample 2 of 3 ==\nx\n== sample 3 of 3 ==\np");
  printer.Add(2, "q");
  printer.Finish(2);
  EXPECT_TRUE(out.str().ends_with("pq\n"));
}

TEST(TextPrinterTest, EscapesForATerminal) {
  std::ostringstream out;
  TextPrinter printer(out, 1, /*escape=*/true);
  printer.Add(0, "a\n\x1b[2J");
  EXPECT_EQ(out.str(), "a\n\\x1B[2J");
}

TEST(TextPrinterTest, SamplesThatAreNotThereAreIgnored) {
  std::ostringstream out;
  TextPrinter printer(out, 0, /*escape=*/false);
  printer.Add(0, "a");
  printer.Finish(-1);
  EXPECT_EQ(out.str(), "");
}

}  // namespace
}  // namespace mtm::client
