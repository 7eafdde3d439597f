// SPDX-License-Identifier: Apache-2.0
#include "server/text/byte_level.h"

#include <set>
#include <string>

#include "gtest/gtest.h"

namespace mtm {
namespace {

TEST(ByteLevel, EveryByteHasItsOwnCharacterAndComesBack) {
  std::set<std::string> seen;
  for (int byte = 0; byte < 256; ++byte) {
    const std::string bytes(1, static_cast<char>(byte));
    const std::string written = ToByteLevel(bytes);
    EXPECT_TRUE(seen.insert(written).second) << byte;
    EXPECT_EQ(FromByteLevel(written), bytes) << byte;
  }
}

TEST(ByteLevel, CharactersAreThoseOfGpt2) {
  EXPECT_EQ(ToByteLevel("A~"), "A~");
  EXPECT_EQ(ToByteLevel(" "), "\u0120");
  EXPECT_EQ(ToByteLevel("\n"), "\u010A");
  EXPECT_EQ(ToByteLevel(std::string(1, '\0')), "\u0100");
  EXPECT_EQ(ToByteLevel("\xAD"), "\u0143");
  EXPECT_EQ(ToByteLevel("\xFF"), "\u00FF");
}

TEST(ByteLevel, CharactersOutsideTheAlphabetAreRefused) {
  for (const std::string written :
       {" ", "\n", "a b", "\u0144", "\u00AD", "\u20AC", "\xF0\x9F\x98\x80", "\xC4", "\x80"}) {
    EXPECT_EQ(FromByteLevel(written), std::nullopt) << written;
  }
}

}  // namespace
}  // namespace mtm
