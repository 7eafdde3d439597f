// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_TEXT_PRETOKENIZER_H_
#define MTM_SERVER_TEXT_PRETOKENIZER_H_

#include <memory>
#include <string_view>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

struct pcre2_real_code_8;  // PCRE2's compiled pattern

namespace mtm {

// GPT-2's split of a text into words, inside which BPE then merges. Immutable and thread-safe; copies share
// the pattern. Which characters are letters or numbers is for PCRE2's version of Unicode to say (14 in
// PCRE2 10.42): those assigned later may part from their neighbours in another place than with another
// library.
class Pretokenizer {
 public:
  // `use_jit`: compile to machine code where PCRE2 and the system allow it; otherwise PCRE2 interprets.
  static absl::StatusOr<Pretokenizer> Create(bool use_jit = true);

  // Calls `take` with each word in order; together they are `text`, which must be valid UTF-8. Time is
  // linear. INTERNAL: PCRE2 failed, which only lack of memory should bring about.
  absl::Status Split(std::string_view text, absl::FunctionRef<void(std::string_view)> take) const;

 private:
  explicit Pretokenizer(std::shared_ptr<const pcre2_real_code_8> code) : code_(std::move(code)) {}
  std::shared_ptr<const pcre2_real_code_8> code_;
};

}  // namespace mtm

#endif  // MTM_SERVER_TEXT_PRETOKENIZER_H_
