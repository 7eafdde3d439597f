// SPDX-License-Identifier: Apache-2.0
#include "server/text/tokenizer_files.h"

#include <fstream>
#include <system_error>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace mtm {
namespace {

// GPT-2's own files are of 0.5 to 3.5 MB.
constexpr uintmax_t kFileSizeLimit = 32 << 20;

bool IsFile(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::is_regular_file(path, error);
}

absl::StatusOr<std::string> ReadFile(const std::filesystem::path& path) {
  std::error_code error;
  const uintmax_t size = std::filesystem::file_size(path, error);
  if (error) return absl::InvalidArgumentError("cannot be read");
  if (size > kFileSizeLimit)
    return absl::InvalidArgumentError(absl::StrCat("is larger than ", kFileSizeLimit, " bytes"));
  std::string content(size, '\0');
  std::ifstream stream(path, std::ios::binary);
  if (!stream.read(content.data(), static_cast<std::streamsize>(size))) {
    return absl::InvalidArgumentError("cannot be read");
  }
  return content;
}

// The first line, which `text` loses, without its end.
std::string_view TakeLine(std::string_view* text) {
  const size_t end = text->find('\n');
  std::string_view line = text->substr(0, end);
  text->remove_prefix(end == text->npos ? text->size() : end + 1);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

using Parser = absl::Status (*)(std::string_view, TokenizerFiles*);

absl::Status ParseFile(const std::filesystem::path& path, Parser parse, TokenizerFiles* files) {
  const absl::StatusOr<std::string> content = ReadFile(path);
  const absl::Status status = content.ok() ? parse(*content, files) : content.status();
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(path.string(), ": ", status.message()));
}

}  // namespace

std::string Quoted(std::string_view text) {
  constexpr size_t kShown = 40;
  const std::string shown = absl::CHexEscape(std::string(text.substr(0, kShown)));
  return absl::StrCat("\"", shown, text.size() > kShown ? "..." : "", "\"");
}

absl::StatusOr<std::pair<std::string, std::string>> ParseMerge(std::string_view line) {
  const size_t space = line.find(' ');
  if (space == 0 || space >= line.size() - 1 || line.find(' ', space + 1) != line.npos) {
    return absl::InvalidArgumentError(
        absl::StrCat(Quoted(line), " is not two symbols with a space between them"));
  }
  return std::make_pair(std::string(line.substr(0, space)), std::string(line.substr(space + 1)));
}

absl::Status ParseMergesTxt(std::string_view text, TokenizerFiles* files) {
  for (size_t number = 1; !text.empty(); ++number) {
    const std::string_view line = TakeLine(&text);
    if (number == 1 && line.starts_with("#version")) continue;
    absl::StatusOr<std::pair<std::string, std::string>> merge = ParseMerge(line);
    if (!merge.ok())
      return absl::InvalidArgumentError(absl::StrCat("line ", number, ": ", merge.status().message()));
    files->merges.push_back(*std::move(merge));
  }
  return absl::OkStatus();
}

absl::StatusOr<TokenizerFiles> ReadTokenizerFiles(const std::filesystem::path& folder) {
  const std::filesystem::path vocabulary = folder / "vocab.json";
  const std::filesystem::path merges = folder / "merges.txt";
  const std::filesystem::path both = folder / "tokenizer.json";
  TokenizerFiles files;
  if (IsFile(vocabulary) && IsFile(merges)) {
    files.vocabulary_file = vocabulary.string();
    files.merges_file = merges.string();
    absl::Status status = ParseFile(vocabulary, ParseVocabularyJson, &files);
    if (status.ok()) status = ParseFile(merges, ParseMergesTxt, &files);
    if (!status.ok()) return status;
    return files;
  }
  if (IsFile(both)) {
    files.vocabulary_file = files.merges_file = both.string();
    const absl::Status status = ParseFile(both, ParseTokenizerJson, &files);
    if (!status.ok()) return status;
    return files;
  }
  return absl::NotFoundError(absl::StrCat(
      folder.string(), ": no tokenizer: neither vocab.json with merges.txt, nor tokenizer.json"));
}

}  // namespace mtm
