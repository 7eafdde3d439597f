// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <iostream>
#include <iterator>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/commands/commands.h"
#include "server/rpc/access_file.h"

namespace mtm {
namespace {

// What 128 random bits take as hexadecimal digits.
constexpr size_t kMinLength = 32;

}  // namespace

absl::Status HashToken(const HashTokenOptions& options, std::istream& in, std::ostream& out) {
  std::string token(std::istreambuf_iterator<char>(in), {});
  if (token.ends_with('\n')) token.pop_back();
  if (token.empty() || !std::ranges::all_of(token, [](char c) { return c > ' ' && c <= '~'; })) {
    return absl::InvalidArgumentError(
        "a token is one line of printable ASCII characters without spaces, as `openssl rand -hex 32` prints");
  }
  const std::string line = AccessFileLine(options.name, token);
  const auto grants = ParseAccessFile(absl::StrCat("{\"tokens\":[", line, "]}"));
  if (!grants.ok()) return grants.status();
  if (token.size() < kMinLength) {
    std::cerr << "mtm_server: warning: this token is short and may be guessed; `openssl rand -hex 32` prints "
                 "a good one\n";
  }
  out << line << "\n";
  return absl::OkStatus();
}

}  // namespace mtm
