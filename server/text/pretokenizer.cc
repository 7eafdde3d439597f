// SPDX-License-Identifier: Apache-2.0
#include "server/text/pretokenizer.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace mtm {
namespace {

// Unicode's White_Space, spelled out because PCRE2's own \s takes U+180E too.
#define MTM_SPACES R"(\t-\r \x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})"

// GPT-2's pattern. `++` is its `+` where nothing follows that could ask for a character back: no backtracking
// points to keep on a word of a megabyte. The `+` gives back one character at most, so it stays linear too.
constexpr char kPattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d"
    R"(| ?\p{L}++)"
    R"(| ?\p{N}++)"
    R"(| ?[^\p{L}\p{N})" MTM_SPACES
    "]++"
    "|[" MTM_SPACES "]+(?![^" MTM_SPACES
    "])"
    "|[" MTM_SPACES "]++";

// Anchored: each match begins where the last one ended. That has to be a compile option, PCRE2 does not run
// its machine code for a match that asks for it.
constexpr uint32_t kCompileOptions = PCRE2_UTF | PCRE2_ANCHORED;

// Without it every match would check the rest of the text, which makes the split quadratic.
constexpr uint32_t kMatchOptions = PCRE2_NO_UTF_CHECK;

struct MatchDataDeleter {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};

absl::Status Pcre2Error(const std::string& what, int code) {
  PCRE2_UCHAR message[256] = {};
  pcre2_get_error_message(code, message, sizeof(message));
  return absl::InternalError(absl::StrCat(what, ": ", reinterpret_cast<const char*>(message)));
}

}  // namespace

absl::StatusOr<Pretokenizer> Pretokenizer::Create(bool use_jit) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* const code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(kPattern), PCRE2_ZERO_TERMINATED,
                                         kCompileOptions, &error, &offset, nullptr);
  if (code == nullptr) return Pcre2Error("compiling the tokenizer's pattern", error);
  std::shared_ptr<const pcre2_real_code_8> owner(code, [](pcre2_code* c) { pcre2_code_free(c); });
  // A failure here (no JIT in this build, or memory that may not be executable) leaves the interpreter.
  if (use_jit) pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
  return Pretokenizer(std::move(owner));
}

absl::Status Pretokenizer::Split(std::string_view text,
                                 absl::FunctionRef<void(std::string_view)> take) const {
  const std::unique_ptr<pcre2_match_data, MatchDataDeleter> match(pcre2_match_data_create(1, nullptr));
  if (match == nullptr) return Pcre2Error("splitting a text", PCRE2_ERROR_NOMEMORY);
  const PCRE2_SIZE* const ends = pcre2_get_ovector_pointer(match.get());
  for (size_t start = 0; start < text.size(); start = ends[1]) {
    // The pattern takes at least one character anywhere, so "no match" is a failure too.
    const int result = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), start,
                                   kMatchOptions, match.get(), nullptr);
    if (result < 0) return Pcre2Error(absl::StrCat("splitting a text at byte ", start), result);
    take(text.substr(start, ends[1] - start));
  }
  return absl::OkStatus();
}

}  // namespace mtm
