// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_TEXT_TOKENIZER_H_
#define MTM_SERVER_TEXT_TOKENIZER_H_

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace mtm {

// GPT-2's byte-level BPE. Immutable and thread-safe.
class Tokenizer {
 public:
  // From a model folder's `vocab.json` and `merges.txt`, or where not both are there, its `tokenizer.json`.
  // NOT_FOUND: neither is there. INVALID_ARGUMENT: a file is malformed, or not GPT-2's kind of tokenizer; the
  // message names file and fault.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Load(const std::filesystem::path& folder);
  ~Tokenizer();

  // Ordinary encoding: `<|endoftext|>` in a text is plain characters. Time is O(n log n) at most.
  // INVALID_ARGUMENT: no UTF-8, the message names the byte's offset; or 4 GiB and more.
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text) const;

  // The bytes that a token stands for; empty for an id that the vocabulary does not have.
  std::string_view TokenBytes(int32_t id) const;

  // Text of the tokens; bytes that are no UTF-8 appear as U+FFFD.
  std::string Decode(std::span<const int32_t> ids) const;

  // One above the highest id.
  int32_t vocabulary_size() const;

  // The id of `<|endoftext|>`, where there is one.
  std::optional<int32_t> end_of_text() const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<const Impl> impl);
  std::unique_ptr<const Impl> impl_;
};

// Text of a growing token sequence, never half a UTF-8 character.
class StreamDecoder {
 public:
  // `tokenizer` outlives the decoder.
  explicit StreamDecoder(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}

  // Text completed by this token; may be empty.
  std::string Append(int32_t id);

  // What is left: an unfinished character, as U+FFFD.
  std::string Finish();

 private:
  const Tokenizer* tokenizer_;
  std::string pending_;
};

}  // namespace mtm

#endif  // MTM_SERVER_TEXT_TOKENIZER_H_
