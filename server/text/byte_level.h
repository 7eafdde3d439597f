// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_TEXT_BYTE_LEVEL_H_
#define MTM_SERVER_TEXT_BYTE_LEVEL_H_

#include <optional>
#include <string>
#include <string_view>

namespace mtm {

// GPT-2's files write each byte of a token as one printable character: itself where Latin-1 prints it, else
// one of U+0100 and up. A space is U+0120.

// How the files write `bytes`.
std::string ToByteLevel(std::string_view bytes);

// The bytes that `written` (UTF-8) stands for; nothing when a character of it is outside the alphabet.
std::optional<std::string> FromByteLevel(std::string_view written);

}  // namespace mtm

#endif  // MTM_SERVER_TEXT_BYTE_LEVEL_H_
