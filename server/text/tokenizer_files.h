// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_TEXT_TOKENIZER_FILES_H_
#define MTM_SERVER_TEXT_TOKENIZER_FILES_H_

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace mtm {

// Ids lie below this, several times the largest vocabulary in use: a table by id stays small whatever a file
// says.
inline constexpr int32_t kIdLimit = 1 << 20;

// What a tokenizer's files say, checked line by line but not yet against each other.
struct TokenizerFiles {
  std::string vocabulary_file;  // for messages; the same file twice for tokenizer.json
  std::string merges_file;
  absl::flat_hash_map<std::string, int32_t> vocabulary;  // in the byte-level alphabet; ids in [0, kIdLimit)
  std::vector<std::pair<std::string, std::string>> merges;  // in the byte-level alphabet, first one first
  absl::flat_hash_map<std::string, int32_t> added;          // as plain text; ids in [0, kIdLimit)
};

// From vocab.json and merges.txt, or where not both are there, from tokenizer.json.
// NOT_FOUND: neither is complete. INVALID_ARGUMENT: a file is malformed; the message names it and the fault.
absl::StatusOr<TokenizerFiles> ReadTokenizerFiles(const std::filesystem::path& folder);

// The parts of it, `text` being a file's content. INVALID_ARGUMENT, the message naming the fault but not the
// file.
absl::Status ParseVocabularyJson(std::string_view text, TokenizerFiles* files);
absl::Status ParseMergesTxt(std::string_view text, TokenizerFiles* files);
absl::Status ParseTokenizerJson(std::string_view text, TokenizerFiles* files);

// The two words of a merge, separated by one space. INVALID_ARGUMENT: there are not two.
absl::StatusOr<std::pair<std::string, std::string>> ParseMerge(std::string_view line);

// `text` as a message may show it: printable, and not too long.
std::string Quoted(std::string_view text);

}  // namespace mtm

#endif  // MTM_SERVER_TEXT_TOKENIZER_FILES_H_
