// SPDX-License-Identifier: Apache-2.0
#include <random>
#include <string>

#include "gtest/gtest.h"
#include "server/text/utf8.h"
#include "tests/text/gpt2.h"
#include "tests/text/random_text.h"

namespace mtm {
namespace {

std::vector<int32_t> TokensOfBytes(std::string_view bytes) {
  std::vector<int32_t> ids;
  for (const char byte : bytes) {
    int32_t id = 0;
    while (Gpt2().TokenBytes(id) != std::string_view(&byte, 1)) ++id;  // GPT-2's first 256 tokens
    ids.push_back(id);
  }
  return ids;
}

void ExpectStreamEqualsDecode(const std::vector<int32_t>& ids) {
  StreamDecoder decoder(Gpt2());
  std::string text;
  for (const int32_t id : ids) {
    const std::string piece = decoder.Append(id);
    ASSERT_EQ(FindInvalidUtf8(piece), std::nullopt);
    text += piece;
  }
  ASSERT_EQ(text + decoder.Finish(), Gpt2().Decode(ids));
}

TEST(StreamDecoder, ACharacterAppearsWithItsLastByte) {
  StreamDecoder decoder(Gpt2());
  const std::vector<int32_t> ids = TokensOfBytes("\xF0\x9F\x98\x80!");
  EXPECT_EQ(decoder.Append(ids[0]), "");
  EXPECT_EQ(decoder.Append(ids[1]), "");
  EXPECT_EQ(decoder.Append(ids[2]), "");
  EXPECT_EQ(decoder.Append(ids[3]), "\xF0\x9F\x98\x80");
  EXPECT_EQ(decoder.Append(ids[4]), "!");
  EXPECT_EQ(decoder.Finish(), "");
}

TEST(StreamDecoder, WhatCanNeverCompleteAppearsAtOnce) {
  StreamDecoder decoder(Gpt2());
  const std::vector<int32_t> ids = TokensOfBytes("\xFF\xE0\x80\xE2\x82z");
  EXPECT_EQ(decoder.Append(ids[0]), "\uFFFD");
  EXPECT_EQ(decoder.Append(ids[1]), "");
  EXPECT_EQ(decoder.Append(ids[2]), "\uFFFD\uFFFD");
  EXPECT_EQ(decoder.Append(ids[3]), "");
  EXPECT_EQ(decoder.Append(ids[4]), "");
  EXPECT_EQ(decoder.Append(ids[5]), "\uFFFDz");
}

TEST(StreamDecoder, FinishGivesAnUnfinishedCharacterOnce) {
  StreamDecoder decoder(Gpt2());
  for (const int32_t id : TokensOfBytes("\xE2\x82")) EXPECT_EQ(decoder.Append(id), "");
  EXPECT_EQ(decoder.Finish(), "\uFFFD");
  EXPECT_EQ(decoder.Finish(), "");
}

TEST(StreamDecoder, EverySplitOfATextStreamsToTheText) {
  const std::string text = "na\u00EFve \u65E5\u672C \U0001F44D\U0001F3FD \xE2\x82 end \xF0\x9F";
  for (size_t split = 0; split <= text.size(); ++split) {
    // The halves are decoded through whatever tokens they happen to have.
    std::vector<int32_t> ids = TokensOfBytes(text.substr(0, split));
    for (const int32_t id : TokensOfBytes(text.substr(split))) ids.push_back(id);
    ExpectStreamEqualsDecode(ids);
  }
}

TEST(StreamDecoder, AnyTokensStreamToTheirDecoding) {
  std::mt19937_64 random(4);
  for (int round = 0; round < 2000; ++round) {
    std::vector<int32_t> ids(random() % 40);
    // Every other round from single bytes only, and some ids that the vocabulary does not have.
    const uint64_t limit = round % 2 ? 256 : static_cast<uint64_t>(Gpt2().vocabulary_size()) + 10;
    for (int32_t& id : ids) id = static_cast<int32_t>(random() % limit);
    ExpectStreamEqualsDecode(ids);
  }
}

TEST(StreamDecoder, AnEncodedTextStreamsToItself) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 50; ++round) {
    const std::string text = RandomText(300, &random);
    StreamDecoder decoder(Gpt2());
    std::string streamed;
    const std::vector<int32_t> ids = Gpt2().Encode(text).value();
    for (const int32_t id : ids) streamed += decoder.Append(id);
    ASSERT_EQ(streamed + decoder.Finish(), text);
  }
}

}  // namespace
}  // namespace mtm
