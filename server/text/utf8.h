// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_TEXT_UTF8_H_
#define MTM_SERVER_TEXT_UTF8_H_

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace mtm {

// UTF-8 as Unicode defines it: no surrogates, no overlong forms, nothing above U+10FFFF.

// Where the first broken or unfinished sequence begins; nothing when all of `text` is UTF-8.
std::optional<size_t> FindInvalidUtf8(std::string_view text);

// `text` with U+FFFD for every maximal subpart that is no UTF-8 (Unicode 15, section 3.9; Python's
// errors="replace").
std::string ReplaceInvalidUtf8(std::string_view text);

// Length of the part of `text` that no further bytes can change: all but an unfinished last character.
size_t SettledUtf8Length(std::string_view text);

}  // namespace mtm

#endif  // MTM_SERVER_TEXT_UTF8_H_
