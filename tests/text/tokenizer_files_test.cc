// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/text/byte_level.h"
#include "server/text/tokenizer.h"
#include "tests/text/gpt2.h"

namespace mtm {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

// A folder of its own for each test.
class TokenizerFilesTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "mtm_text_XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void Write(const std::string& name, const std::string& content) {
    std::ofstream(folder_ / name, std::ios::binary) << content;
  }
  void Remove(const std::string& name) { std::filesystem::remove(folder_ / name); }

  absl::Status LoadStatus() { return Tokenizer::Load(folder_).status(); }

  void ExpectRefused(const std::string& file, const std::string& fault) {
    const absl::Status status = LoadStatus();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr((folder_ / file).string()), HasSubstr(fault)));
  }

  std::filesystem::path folder_;
};

// The 256 bytes and a few merges.
json SmallVocabulary() {
  json vocabulary = json::object();
  for (int byte = 0; byte < 256; ++byte)
    vocabulary[ToByteLevel(std::string(1, static_cast<char>(byte)))] = byte;
  vocabulary["ab"] = 256;
  vocabulary["\u0120ab"] = 300;  // ids need not be dense
  return vocabulary;
}

constexpr char kSmallMerges[] = "#version: 0.2\na b\n\u0120 ab\n";

json SmallTokenizerJson() {
  json root;
  root["version"] = "1.0";
  root["added_tokens"] = {{{"id", 301}, {"content", "<|endoftext|>"}, {"special", true}}};
  root["normalizer"] = nullptr;
  root["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}};
  root["model"] = {{"type", "BPE"},
                   {"dropout", nullptr},
                   {"unk_token", nullptr},
                   {"continuing_subword_prefix", ""},
                   {"end_of_word_suffix", ""},
                   {"fuse_unk", false},
                   {"vocab", SmallVocabulary()},
                   {"merges", {"a b", "\u0120 ab"}}};
  return root;
}

TEST_F(TokenizerFilesTest, VocabularyAndMergesLoad) {
  Write("vocab.json", SmallVocabulary().dump());
  Write("merges.txt", kSmallMerges);
  const auto tokenizer = Tokenizer::Load(folder_);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->Encode("ab ab b").value(), (std::vector<int32_t>{256, 300, ' ', 'b'}));
  EXPECT_EQ((*tokenizer)->vocabulary_size(), 301);
  EXPECT_EQ((*tokenizer)->TokenBytes(299), "");
  EXPECT_EQ((*tokenizer)->end_of_text(), std::nullopt);
}

TEST_F(TokenizerFilesTest, MergesMayLackVersionAndEndInCarriageReturns) {
  Write("vocab.json", SmallVocabulary().dump());
  Write("merges.txt", "a b\r\n\u0120 ab");
  const auto tokenizer = Tokenizer::Load(folder_);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->Encode(" ab").value(), (std::vector<int32_t>{300}));
}

TEST_F(TokenizerFilesTest, TokenizerJsonLoadsWithMergesAsStringsAndAsPairs) {
  json root = SmallTokenizerJson();
  const json strings = json::array({"a b", "\u0120 ab"});
  const json pairs = json::array({json::array({"a", "b"}), json::array({"\u0120", "ab"})});
  for (const json& merges : {strings, pairs}) {
    root["model"]["merges"] = merges;
    Write("tokenizer.json", root.dump());
    const auto tokenizer = Tokenizer::Load(folder_);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    EXPECT_EQ((*tokenizer)->Encode("ab ab").value(), (std::vector<int32_t>{256, 300}));
    EXPECT_EQ((*tokenizer)->end_of_text(), 301);
    EXPECT_EQ((*tokenizer)->Decode(std::vector<int32_t>{300, 301}), " ab<|endoftext|>");
  }
}

TEST_F(TokenizerFilesTest, TokenizerJsonOfGpt2EncodesLikeItsOtherFiles) {
  json root = SmallTokenizerJson();
  std::ifstream vocabulary(Gpt2Folder() / "vocab.json"), merges(Gpt2Folder() / "merges.txt");
  root["model"].erase("type");  // as in GPT-2's first tokenizer.json
  root["model"]["vocab"] = json::parse(vocabulary);
  root["model"]["merges"] = json::array();
  root["added_tokens"][0]["id"] = 50256;
  std::string line;
  std::getline(merges, line);
  while (std::getline(merges, line)) root["model"]["merges"].push_back(line);
  Write("tokenizer.json", root.dump());
  const auto tokenizer = Tokenizer::Load(folder_);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const std::string text = "The same tokens, whichever file: na\u00EFve \U0001F44D 12345";
  EXPECT_EQ((*tokenizer)->Encode(text).value(), Gpt2().Encode(text).value());
  EXPECT_EQ((*tokenizer)->vocabulary_size(), 50257);
}

TEST_F(TokenizerFilesTest, TokenizerJsonIsReadOnlyWhereTheOtherFilesAreNotBothThere) {
  Write("tokenizer.json", "broken");
  Write("vocab.json", SmallVocabulary().dump());
  Write("merges.txt", kSmallMerges);
  EXPECT_TRUE(LoadStatus().ok());
  Remove("merges.txt");
  ExpectRefused("tokenizer.json", "no JSON");
}

TEST_F(TokenizerFilesTest, AFolderWithoutTokenizerIsNotFound) {
  EXPECT_EQ(LoadStatus().code(), absl::StatusCode::kNotFound);
  Write("vocab.json", SmallVocabulary().dump());
  EXPECT_EQ(LoadStatus().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(LoadStatus().message()), HasSubstr(folder_.string()));
  EXPECT_EQ(Tokenizer::Load(folder_ / "none").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(TokenizerFilesTest, AMalformedVocabularyIsRefused) {
  Write("merges.txt", kSmallMerges);
  const auto with = [](const std::string& token, const json& id) {
    json vocabulary = SmallVocabulary();
    vocabulary[token] = id;
    return vocabulary.dump();
  };
  const auto without = [](const std::string& token) {
    json vocabulary = SmallVocabulary();
    vocabulary.erase(token);
    return vocabulary.dump();
  };
  const struct {
    std::string content, fault;
  } kCases[] = {
      {"", "no JSON at byte"},
      {"{\"a\": 1", "no JSON at byte"},
      {"{\"a\": 1} x", "no JSON at byte"},
      {"{\"\xFF\": 1}", "no JSON at byte"},
      {"{\"\\ud800\": 1}", "no JSON at byte"},
      {"[1, 2]", "no JSON object"},
      {"null", "no JSON object"},
      {std::string(1 << 20, '['), "nests deeper"},
      {Repeat("{\"a\":", 1 << 20), "nests deeper"},
      {with("c", -1), "id of token \"c\""},
      {with("c", 1.5), "id of token \"c\""},
      {with("c", "7"), "id of token \"c\""},
      {with("c", nullptr), "id of token \"c\""},
      {with("c", json::array()), "id of token \"c\""},
      {with("c", 1 << 20), "id of token \"c\""},
      {with("c", UINT64_MAX), "id of token \"c\""},
      {"{\"a\": 1e400}", "no JSON"},
      {"{\"a\": 123456789012345678901234567890}", "id of token \"a\""},
      {with("xyz", 17), "belongs to another token"},
      {without("\u0120"), "no token for byte 32"},
      {without("\u0143"), "no token for byte 173"},
      {"{}", "no token for byte 0"},
  };
  for (const auto& [content, fault] : kCases) {
    SCOPED_TRACE(content.substr(0, 60));
    Write("vocab.json", content);
    ExpectRefused("vocab.json", fault);
  }
}

TEST_F(TokenizerFilesTest, MalformedMergesAreRefused) {
  Write("vocab.json", SmallVocabulary().dump());
  const struct {
    std::string content, fault;
  } kCases[] = {
      {"a b\nab\n", "line 2: \"ab\" is not two"},
      {"a b\na b c\n", "line 2"},
      {"a b\n\n\u0120 ab\n", "line 2"},
      {"a \n", "line 1"},
      {" a\n", "line 1"},
      {"a  b\n", "line 1"},
      {" \n", "line 1"},
      {"#version: 0.2\n#version: 0.2 x\n", "line 2"},
      {"a b\nb a\n", "merge 2: \"ba\" is not in the vocabulary"},
      {"a bb\n", "merge 1: \"bb\" is not in the vocabulary"},
      {"\xFF\xFE a\n", "merge 1: \"\\xff\\xfe\" is not in the vocabulary"},
      {std::string("a \0\n", 4), "merge 1"},
      {"a b\na b\n", "merge 2: \"a\" and \"b\" are merged twice"},
      {std::string(1 << 20, 'a'), "line 1"},
  };
  for (const auto& [content, fault] : kCases) {
    SCOPED_TRACE(content.substr(0, 60));
    Write("merges.txt", content);
    ExpectRefused("merges.txt", fault);
  }
}

TEST_F(TokenizerFilesTest, ATokenizerJsonThatIsNotGpt2sIsRefused) {
  const struct {
    const char* at;  // JSON pointer
    json value;
    std::string fault;
  } kCases[] = {
      {"/model", nullptr, "no model"},
      {"/model", json::array(), "no model"},
      {"/model/type", "WordPiece", "model.type is \"WordPiece\""},
      {"/model/type", 3, "model.type"},
      {"/model/dropout", 0.1, "model.dropout"},
      {"/model/ignore_merges", true, "model.ignore_merges"},
      {"/model/continuing_subword_prefix", "##", "model.continuing_subword_prefix"},
      {"/model/end_of_word_suffix", "</w>", "model.end_of_word_suffix"},
      {"/model/vocab", json::array(), "vocabulary is no JSON object"},
      {"/model/vocab/c", -5, "id of token \"c\""},
      {"/model/vocab/c", 1, "belongs to another token"},
      {"/model/merges", json::object(), "model.merges"},
      {"/model/merges/1", "ab", "model.merges[1]"},
      {"/model/merges/1", {"a", "b", "c"}, "model.merges[1]"},
      {"/model/merges/1", {"a", 2}, "model.merges[1]"},
      {"/model/merges/1", "b a", "merge 2: \"ba\""},
      {"/normalizer", {{"type", "NFC"}}, "normalizer"},
      {"/pre_tokenizer", nullptr, "pre_tokenizer"},
      {"/pre_tokenizer/type", "Metaspace", "pre_tokenizer is \"Metaspace\""},
      {"/pre_tokenizer",
       {{"type", "Sequence"}, {"pretokenizers", json::array()}},
       "pre_tokenizer is \"Sequence\""},
      {"/pre_tokenizer/add_prefix_space", true, "add_prefix_space"},
      {"/pre_tokenizer/add_prefix_space", nullptr, "add_prefix_space"},
      {"/pre_tokenizer/use_regex", false, "use_regex"},
      {"/added_tokens", 1, "added_tokens"},
      {"/added_tokens/0", 1, "added token"},
      {"/added_tokens/0/content", 1, "added token"},
      {"/added_tokens/0/id", -1, "id of token \"<|endoftext|>\""},
      {"/added_tokens/0/id", 7, "belongs to another token"},
      {"/added_tokens/0/content", "ab", "two ids"},
  };
  for (const auto& c : kCases) {
    SCOPED_TRACE(testing::Message() << c.at << " = " << c.value);
    json root = SmallTokenizerJson();
    root[json::json_pointer(c.at)] = c.value;
    Write("tokenizer.json", root.dump());
    ExpectRefused("tokenizer.json", c.fault);
  }
}

TEST_F(TokenizerFilesTest, ATokenAddedTwiceIsRefused) {
  json root = SmallTokenizerJson();
  root["added_tokens"].push_back(root["added_tokens"][0]);
  Write("tokenizer.json", root.dump());
  ExpectRefused("tokenizer.json", "added twice");
}

TEST_F(TokenizerFilesTest, AFileLargerThanAnyTokenizerIsRefusedUnread) {
  Write("tokenizer.json", "{}");
  std::filesystem::resize_file(folder_ / "tokenizer.json", uint64_t{1} << 40);  // sparse
  ExpectRefused("tokenizer.json", "larger than");
}

TEST_F(TokenizerFilesTest, AFileCutAnywhereIsRefused) {
  const std::string whole = SmallTokenizerJson().dump();
  for (size_t size = 0; size < whole.size(); size += 7) {
    Write("tokenizer.json", whole.substr(0, size));
    ASSERT_EQ(LoadStatus().code(), absl::StatusCode::kInvalidArgument) << size;
  }
}

}  // namespace
}  // namespace mtm
