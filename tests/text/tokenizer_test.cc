// SPDX-License-Identifier: Apache-2.0
#include "server/text/tokenizer.h"

#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/text/utf8.h"
#include "tests/text/gpt2.h"
#include "tests/text/random_text.h"

namespace mtm {
namespace {

using ::testing::HasSubstr;

TEST(Tokenizer, GoldenTextsGiveTheirTokensAndComeBack) {
  std::ifstream stream(Gpt2Folder() / "tokenizer.jsonl");
  size_t cases = 0;
  for (std::string line; std::getline(stream, line); ++cases) {
    const auto golden = nlohmann::json::parse(line);
    const std::string text = golden["text"];
    const std::vector<int32_t> ids = golden["ids"];
    EXPECT_EQ(Gpt2().Encode(text).value(), ids) << "line " << cases + 1 << ": " << text;
    EXPECT_EQ(Gpt2().Decode(ids), text) << "line " << cases + 1;
  }
  EXPECT_GT(cases, 200u);
}

TEST(Tokenizer, AnyTextComesBack) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937_64 random(seed);
  for (int round = 0; round < 200; ++round) {
    const std::string text = RandomText(random() % 500, &random);
    const auto ids = Gpt2().Encode(text);
    ASSERT_TRUE(ids.ok()) << ids.status();
    ASSERT_EQ(Gpt2().Decode(*ids), text);
  }
}

TEST(Tokenizer, VocabularyIsThatOfGpt2) {
  EXPECT_EQ(Gpt2().vocabulary_size(), 50257);
  EXPECT_EQ(Gpt2().end_of_text(), 50256);
  EXPECT_EQ(Gpt2().TokenBytes(198), "\n");
  EXPECT_EQ(Gpt2().TokenBytes(995), " world");
  EXPECT_EQ(Gpt2().TokenBytes(447), "\xE2\x80");
  EXPECT_EQ(Gpt2().TokenBytes(50256), "<|endoftext|>");
}

TEST(Tokenizer, IdsOutsideTheVocabularyStandForNothing) {
  for (const int32_t id : {-1, 50257, INT32_MIN, INT32_MAX}) EXPECT_EQ(Gpt2().TokenBytes(id), "");
  EXPECT_EQ(Gpt2().Decode(std::vector<int32_t>{-1, 995, 50257}), " world");
}

TEST(Tokenizer, InvalidUtf8IsRefusedWithItsOffset) {
  const auto ids = Gpt2().Encode("caf\xC3\xA9 \xC3( \xFF");
  EXPECT_EQ(ids.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(ids.status().message()), HasSubstr("byte 6"));
}

TEST(Tokenizer, DecodingReplacesWhatIsNoUtf8) {
  EXPECT_EQ(Gpt2().Decode(std::vector<int32_t>{447, 995}), "\uFFFD world");
  EXPECT_EQ(Gpt2().Decode(std::vector<int32_t>{447}), "\uFFFD");
}

TEST(Tokenizer, ThreadsShareATokenizer) {
  std::mt19937_64 random(6);
  const std::string text = RandomText(3000, &random);
  const std::vector<int32_t> expected = Gpt2().Encode(text).value();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 20; ++round) EXPECT_EQ(Gpt2().Encode(text).value(), expected);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace mtm
