// SPDX-License-Identifier: Apache-2.0
#include "server/text/tokenizer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/text/bpe.h"
#include "server/text/byte_level.h"
#include "server/text/pretokenizer.h"
#include "server/text/tokenizer_files.h"
#include "server/text/utf8.h"

namespace mtm {
namespace {

constexpr char kEndOfText[] = "<|endoftext|>";

absl::Status Fault(const std::string& file, const std::string& fault) {
  return absl::InvalidArgumentError(absl::StrCat(file, ": ", fault));
}

// Places the token in the table by id. An id may be given twice only for the same bytes.
absl::Status AddToken(std::string_view name, int32_t id, std::string bytes, const std::string& file,
                      std::vector<std::optional<std::string>>* tokens) {
  if (tokens->size() <= static_cast<size_t>(id)) tokens->resize(id + 1);
  std::optional<std::string>& token = (*tokens)[id];
  if (token && *token != bytes) {
    return Fault(file, absl::StrCat("id ", id, " of token ", Quoted(name), " belongs to another token too"));
  }
  token = std::move(bytes);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> BytesById(const TokenizerFiles& files) {
  std::vector<std::optional<std::string>> tokens;
  for (const auto& [name, id] : files.vocabulary) {
    // A name outside the alphabet was added by hand and stands for itself.
    std::string bytes = FromByteLevel(name).value_or(name);
    const absl::Status status = AddToken(name, id, std::move(bytes), files.vocabulary_file, &tokens);
    if (!status.ok()) return status;
  }
  for (const auto& [content, id] : files.added) {
    const auto other = files.vocabulary.find(content);
    if (other != files.vocabulary.end() && other->second != id) {
      return Fault(files.vocabulary_file, absl::StrCat("token ", Quoted(content), " has two ids"));
    }
    const absl::Status status = AddToken(content, id, content, files.vocabulary_file, &tokens);
    if (!status.ok()) return status;
  }
  std::vector<std::string> bytes(tokens.size());
  for (size_t id = 0; id < tokens.size(); ++id) bytes[id] = std::move(tokens[id]).value_or("");
  return bytes;
}

absl::StatusOr<std::array<int32_t, 256>> ByteIds(const TokenizerFiles& files) {
  std::array<int32_t, 256> ids{};
  for (int byte = 0; byte < 256; ++byte) {
    const auto found = files.vocabulary.find(ToByteLevel(std::string(1, static_cast<char>(byte))));
    if (found == files.vocabulary.end()) {
      return Fault(files.vocabulary_file, absl::StrCat("the vocabulary has no token for byte ", byte));
    }
    ids[byte] = found->second;
  }
  return ids;
}

// INVALID_ARGUMENT: a symbol is not in the vocabulary, or the pair has a merge already.
absl::Status AddMerge(const TokenizerFiles& files, const std::string& left, const std::string& right,
                      Bpe* bpe) {
  const std::string result = left + right;
  std::array<int32_t, 3> ids{};
  size_t found_ids = 0;
  for (const std::string* symbol : {&left, &right, &result}) {
    const auto found = files.vocabulary.find(*symbol);
    if (found == files.vocabulary.end()) {
      return absl::InvalidArgumentError(absl::StrCat(Quoted(*symbol), " is not in the vocabulary"));
    }
    ids[found_ids++] = found->second;
  }
  if (bpe->AddMerge(ids[0], ids[1], ids[2])) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(Quoted(left), " and ", Quoted(right), " are merged twice"));
}

absl::StatusOr<Bpe> MakeBpe(const TokenizerFiles& files) {
  const absl::StatusOr<std::array<int32_t, 256>> byte_ids = ByteIds(files);
  if (!byte_ids.ok()) return byte_ids.status();
  Bpe bpe(*byte_ids);
  size_t number = 0;
  for (const auto& [left, right] : files.merges) {
    ++number;
    const absl::Status status = AddMerge(files, left, right, &bpe);
    if (!status.ok()) return Fault(files.merges_file, absl::StrCat("merge ", number, ": ", status.message()));
  }
  return bpe;
}

std::optional<int32_t> FindEndOfText(const TokenizerFiles& files) {
  for (const auto* tokens : {&files.added, &files.vocabulary}) {
    if (const auto found = tokens->find(kEndOfText); found != tokens->end()) return found->second;
  }
  return std::nullopt;
}

}  // namespace

struct Tokenizer::Impl {
  Pretokenizer pretokenizer;
  Bpe bpe;
  std::vector<std::string> bytes_by_id;
  std::optional<int32_t> end_of_text;
};

Tokenizer::Tokenizer(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Load(const std::filesystem::path& folder) {
  const absl::StatusOr<TokenizerFiles> files = ReadTokenizerFiles(folder);
  if (!files.ok()) return files.status();
  absl::StatusOr<std::vector<std::string>> bytes = BytesById(*files);
  if (!bytes.ok()) return bytes.status();
  absl::StatusOr<Bpe> bpe = MakeBpe(*files);
  if (!bpe.ok()) return bpe.status();
  absl::StatusOr<Pretokenizer> pretokenizer = Pretokenizer::Create();
  if (!pretokenizer.ok()) return pretokenizer.status();
  return std::unique_ptr<Tokenizer>(new Tokenizer(std::make_unique<const Impl>(
      Impl{*std::move(pretokenizer), *std::move(bpe), *std::move(bytes), FindEndOfText(*files)})));
}

absl::StatusOr<std::vector<int32_t>> Tokenizer::Encode(std::string_view text) const {
  // BPE counts a word's symbols in 32 bits.
  if (text.size() >= UINT32_MAX) return absl::InvalidArgumentError("the text is longer than 4 GiB");
  if (const std::optional<size_t> offset = FindInvalidUtf8(text)) {
    return absl::InvalidArgumentError(absl::StrCat("the text is not UTF-8 at byte ", *offset));
  }
  std::vector<int32_t> ids;
  BpeEncoder encoder(impl_->bpe);
  const absl::Status status =
      impl_->pretokenizer.Split(text, [&](std::string_view word) { encoder.Encode(word, &ids); });
  if (!status.ok()) return status;
  return ids;
}

std::string_view Tokenizer::TokenBytes(int32_t id) const {
  if (id < 0 || id >= vocabulary_size()) return {};
  return impl_->bytes_by_id[id];
}

std::string Tokenizer::Decode(std::span<const int32_t> ids) const {
  std::string bytes;
  for (const int32_t id : ids) bytes.append(TokenBytes(id));
  return ReplaceInvalidUtf8(bytes);
}

int32_t Tokenizer::vocabulary_size() const { return static_cast<int32_t>(impl_->bytes_by_id.size()); }

std::optional<int32_t> Tokenizer::end_of_text() const { return impl_->end_of_text; }

}  // namespace mtm
