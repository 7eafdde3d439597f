// SPDX-License-Identifier: Apache-2.0
#include "server/text/byte_level.h"

#include <array>
#include <cstddef>
#include <cstdint>

namespace mtm {
namespace {

constexpr bool PrintsAsItself(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr int kAlphabetEnd = 0x100 + 68;  // 68 bytes do not print

struct Tables {
  std::array<uint16_t, 256> character_of_byte{};
  std::array<int16_t, kAlphabetEnd> byte_of_character{};
};

constexpr Tables MakeTables() {
  Tables tables;
  tables.byte_of_character.fill(-1);
  int next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const int character = PrintsAsItself(byte) ? byte : next++;
    tables.character_of_byte[byte] = static_cast<uint16_t>(character);
    tables.byte_of_character[character] = static_cast<int16_t>(byte);
  }
  return tables;
}

constexpr Tables kTables = MakeTables();

}  // namespace

std::string ToByteLevel(std::string_view bytes) {
  std::string written;
  written.reserve(2 * bytes.size());
  for (const char byte : bytes) {
    const uint16_t character = kTables.character_of_byte[static_cast<unsigned char>(byte)];
    if (character < 0x80) {
      written.push_back(static_cast<char>(character));
    } else {
      written.push_back(static_cast<char>(0xC0 | (character >> 6)));
      written.push_back(static_cast<char>(0x80 | (character & 0x3F)));
    }
  }
  return written;
}

std::optional<std::string> FromByteLevel(std::string_view written) {
  std::string bytes;
  bytes.reserve(written.size());
  for (size_t i = 0; i < written.size(); ++i) {
    size_t character = static_cast<unsigned char>(written[i]);
    if (character >= 0x80) {
      // The whole alphabet lies in one- and two-byte sequences.
      if ((character & 0xE0) != 0xC0 || ++i == written.size()) return std::nullopt;
      character = (character & 0x1F) << 6 | (static_cast<unsigned char>(written[i]) & 0x3F);
    }
    if (character >= kAlphabetEnd || kTables.byte_of_character[character] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(kTables.byte_of_character[character]));
  }
  return bytes;
}

}  // namespace mtm
