// SPDX-License-Identifier: Apache-2.0
#include "server/text/bpe.h"

#include <random>
#include <string>

#include "gtest/gtest.h"

namespace mtm {
namespace {

std::array<int32_t, 256> ByteIds() {
  std::array<int32_t, 256> ids{};
  for (int byte = 0; byte < 256; ++byte) ids[byte] = byte;
  return ids;
}

// The definition: look at all pairs, merge the one of lowest rank that is leftmost, until there is none.
std::vector<int32_t> MergeByDefinition(const Bpe& bpe, std::string_view word) {
  std::vector<int32_t> ids;
  for (const char byte : word) ids.push_back(bpe.ByteId(byte));
  for (;;) {
    uint32_t best = Bpe::kNoMerge;
    size_t at = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const uint32_t rank = bpe.Rank(ids[i], ids[i + 1]);
      if (rank < best) best = rank, at = i;
    }
    if (best == Bpe::kNoMerge) return ids;
    ids[at] = bpe.Result(best);
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
}

// Merges of any earlier symbols; unlike trained ones, several may have the same result, also of a later rank
// than merges that use it.
Bpe RandomBpe(int letters, int merges, std::mt19937_64* random) {
  Bpe bpe(ByteIds());
  for (int next = 256; next < 256 + merges; ++next) {
    const auto symbol = [&] {
      const int i = static_cast<int>((*random)() % static_cast<uint64_t>(letters + merges));
      return i < letters ? 'a' + i : 256 + i - letters;
    };
    bpe.AddMerge(symbol(), symbol(), 256 + static_cast<int32_t>((*random)() % static_cast<uint64_t>(merges)));
  }
  return bpe;
}

TEST(Bpe, WordsOfEveryLengthMergeAsDefined) {
  std::mt19937_64 random(2);
  for (int round = 0; round < 300; ++round) {
    const int letters = 1 + static_cast<int>(random() % 3);
    const Bpe bpe = RandomBpe(letters, 1 + static_cast<int>(random() % 30), &random);
    std::vector<std::string> words;
    for (int i = 0; i < 20; ++i) {
      std::string word(1 + random() % 200, 'a');
      for (char& c : word) c = static_cast<char>('a' + random() % static_cast<uint64_t>(letters));
      words.push_back(word);
    }
    BpeEncoder encoder(bpe);
    std::vector<int32_t> ids, expected;
    for (const std::string& word : words) {
      encoder.Encode(word, &ids);
      const std::vector<int32_t> merged = MergeByDefinition(bpe, word);
      expected.insert(expected.end(), merged.begin(), merged.end());
      ASSERT_EQ(ids, expected) << "round " << round << " word " << word;
    }
  }
}

TEST(Bpe, OfEqualPairsTheLeftmostMergesFirst) {
  Bpe bpe(ByteIds());
  bpe.AddMerge('a', 'a', 256);
  for (const size_t size : {3, 99}) {
    std::vector<int32_t> ids;
    const std::string word(size, 'a');
    BpeEncoder(bpe).Encode(word, &ids);
    std::vector<int32_t> expected(size / 2, 256);
    expected.push_back('a');
    EXPECT_EQ(ids, expected);
  }
}

TEST(Bpe, AWordSeenBeforeGivesTheSameTokens) {
  Bpe bpe(ByteIds());
  bpe.AddMerge('a', 'b', 256);
  BpeEncoder encoder(bpe);
  std::vector<int32_t> ids;
  const std::string word = "abc";
  for (int i = 0; i < 3; ++i) encoder.Encode(word, &ids);
  EXPECT_EQ(ids, (std::vector<int32_t>{256, 'c', 256, 'c', 256, 'c'}));
}

TEST(Bpe, ASecondMergeOfAPairIsRefused) {
  Bpe bpe(ByteIds());
  EXPECT_TRUE(bpe.AddMerge('a', 'b', 256));
  EXPECT_FALSE(bpe.AddMerge('a', 'b', 257));
  EXPECT_EQ(bpe.Result(bpe.Rank('a', 'b')), 256);
}

}  // namespace
}  // namespace mtm
