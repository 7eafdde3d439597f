// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/strings/str_cat.h"
#include "server/text/tokenizer_files.h"

namespace mtm {
namespace {

using nlohmann::json;

// Reads JSON without keeping it: the value parser would build any nesting in memory, and does not say where
// it failed.
class JsonCheck : public json::json_sax_t {
 public:
  const std::string& fault() const { return fault_; }

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool key(string_t&) override { return true; }
  bool start_object(size_t) override { return Enter(); }
  bool end_object() override { return Leave(); }
  bool start_array(size_t) override { return Enter(); }
  bool end_array() override { return Leave(); }
  bool parse_error(size_t position, const std::string&, const json::exception&) override {
    fault_ = absl::StrCat("is no JSON at byte ", position);
    return false;
  }

 private:
  static constexpr int kDeepest = 32;  // a tokenizer.json nests 5 deep

  bool Enter() {
    if (++depth_ <= kDeepest) return true;
    fault_ = absl::StrCat("nests deeper than ", kDeepest);
    return false;
  }
  bool Leave() {
    --depth_;
    return true;
  }

  int depth_ = 0;
  std::string fault_;
};

absl::Status Fault(const std::string& fault) { return absl::InvalidArgumentError(fault); }

absl::StatusOr<json> ParseJsonObject(std::string_view text) {
  JsonCheck check;
  if (!json::sax_parse(text, &check)) return Fault(check.fault());
  json value = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!value.is_object()) return Fault("is no JSON object");
  return value;
}

// A member of an object; null where there is none.
const json& Member(const json& object, const char* name) {
  static const json* const kNull = new json();
  const auto found = object.find(name);
  return found == object.end() ? *kNull : *found;
}

std::string TypeOf(const json& value) {
  const json& type = value.is_object() ? Member(value, "type") : value;
  return type.is_string() ? type.get<std::string>() : "";
}

std::optional<int32_t> ParseId(const json& value) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() >= static_cast<uint64_t>(kIdLimit))
    return std::nullopt;
  return value.get<int32_t>();
}

absl::Status IdFault(std::string_view token) {
  return Fault(
      absl::StrCat("the id of token ", Quoted(token), " is not an integer from 0 to ", kIdLimit - 1));
}

absl::Status ParseVocabulary(const json& vocabulary, TokenizerFiles* files) {
  if (!vocabulary.is_object()) return Fault("the vocabulary is no JSON object");
  files->vocabulary.reserve(vocabulary.size());
  for (const auto& [token, value] : vocabulary.items()) {
    const std::optional<int32_t> id = ParseId(value);
    if (!id) return IdFault(token);
    files->vocabulary.emplace(token, *id);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::pair<std::string, std::string>> ParseJsonMerge(const json& merge) {
  if (merge.is_string()) return ParseMerge(merge.get_ref<const std::string&>());
  if (!merge.is_array() || merge.size() != 2 || !merge[0].is_string() || !merge[1].is_string()) {
    return Fault("neither a string nor a pair of strings");
  }
  return std::make_pair(merge[0].get<std::string>(), merge[1].get<std::string>());
}

absl::Status ParseMerges(const json& merges, TokenizerFiles* files) {
  if (!merges.is_array()) return Fault("model.merges is no JSON array");
  files->merges.reserve(merges.size());
  for (const json& item : merges) {
    absl::StatusOr<std::pair<std::string, std::string>> merge = ParseJsonMerge(item);
    if (!merge.ok()) {
      return Fault(absl::StrCat("model.merges[", files->merges.size(), "]: ", merge.status().message()));
    }
    files->merges.push_back(*std::move(merge));
  }
  return absl::OkStatus();
}

absl::Status ParseAddedTokens(const json& added, TokenizerFiles* files) {
  if (added.is_null()) return absl::OkStatus();
  if (!added.is_array()) return Fault("added_tokens is no JSON array");
  for (const json& token : added) {
    if (!token.is_object() || !Member(token, "content").is_string())
      return Fault("an added token has no content");
    const std::string content = Member(token, "content").get<std::string>();
    const std::optional<int32_t> id = ParseId(Member(token, "id"));
    if (!id) return IdFault(content);
    if (!files->added.emplace(content, *id).second) {
      return Fault(absl::StrCat("the token ", Quoted(content), " is added twice"));
    }
  }
  return absl::OkStatus();
}

bool AbsentOr(const json& object, const char* name, const json& value) {
  const json& member = Member(object, name);
  return member.is_null() || member == value;
}

// Anything that would give other tokens than GPT-2's encoding is refused, not ignored.
absl::Status CheckModel(const json& model) {
  if (!model.is_object()) return Fault("has no model");
  // The oldest files, GPT-2's own among them, give the model no type.
  if (!AbsentOr(model, "type", "BPE"))
    return Fault(absl::StrCat("model.type is ", Quoted(TypeOf(model)), ", not BPE"));
  if (!AbsentOr(model, "dropout", 0.0)) return Fault("model.dropout is not supported");
  if (!AbsentOr(model, "ignore_merges", false)) return Fault("model.ignore_merges is not supported");
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!AbsentOr(model, affix, "")) return Fault(absl::StrCat("model.", affix, " is not supported"));
  }
  return absl::OkStatus();
}

absl::Status CheckByteLevel(const json& root) {
  if (!Member(root, "normalizer").is_null()) return Fault("has a normalizer; GPT-2's text is not normalized");
  const json& pre_tokenizer = Member(root, "pre_tokenizer");
  const std::string type = TypeOf(pre_tokenizer);
  if (type != "ByteLevel")
    return Fault(absl::StrCat("pre_tokenizer is ", Quoted(type), ", not ByteLevel as GPT-2's"));
  // Absent, it means true to the library that writes these files.
  if (Member(pre_tokenizer, "add_prefix_space") != false)
    return Fault("pre_tokenizer.add_prefix_space is not false");
  if (!AbsentOr(pre_tokenizer, "use_regex", true)) return Fault("pre_tokenizer.use_regex is not true");
  return absl::OkStatus();
}

}  // namespace

absl::Status ParseVocabularyJson(std::string_view text, TokenizerFiles* files) {
  const absl::StatusOr<json> root = ParseJsonObject(text);
  return root.ok() ? ParseVocabulary(*root, files) : root.status();
}

absl::Status ParseTokenizerJson(std::string_view text, TokenizerFiles* files) {
  const absl::StatusOr<json> root = ParseJsonObject(text);
  if (!root.ok()) return root.status();
  const json& model = Member(*root, "model");
  absl::Status status = CheckModel(model);
  if (status.ok()) status = CheckByteLevel(*root);
  if (status.ok()) status = ParseVocabulary(Member(model, "vocab"), files);
  if (status.ok()) status = ParseMerges(Member(model, "merges"), files);
  if (status.ok()) status = ParseAddedTokens(Member(*root, "added_tokens"), files);
  return status;
}

}  // namespace mtm
