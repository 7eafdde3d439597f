// SPDX-License-Identifier: Apache-2.0
// What is forgotten leaves nothing behind: the new version has the digest of a memory made from what is left.
#include "server/generation/forget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <iostream>
#include <random>

#include "absl/strings/str_cat.h"
#include "memory_store/segment.h"
#include "server/generation/make_memory.h"
#include "server/model/threads.h"
#include "tests/generation/fixture.h"

namespace mtm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

using Ids = std::vector<int32_t>;

constexpr size_t kWindow = 63;  // tokens of a full one: the context's but the newline

// A small model with GPT-2's tokenizer.
class ForgetTest : public GenerationTest {
 protected:
  ForgetTest() {
    SetModelThreads(1);
    const ModelConfig config{
        .n_layer = 2, .n_head = 2, .n_embd = 16, .n_ctx = 64, .n_inner = 64, .vocab_size = 50257};
    model_ = Model::Random(config, 1).value();
  }

  static const Tokenizer& Gpt2() {
    static const Tokenizer& tokenizer = *Tokenizer::Load(MTM_TESTDATA "/tokenizer").value().release();
    return tokenizer;
  }
  static Ids Encode(const std::string& text) { return Gpt2().Encode(text).value(); }

  absl::StatusOr<std::shared_ptr<const Memory>> Do(const MemoryChange& change) {
    const auto step = [&](Sequence& sequence) {
      Sequence* const batch[] = {&sequence};
      return model_->Step(batch);
    };
    return MakeMemory(
        *model_, &Gpt2(), *store_, {.change = change},
        {.step = step, .check = [] { return absl::OkStatus(); }, .progress = [](int64_t, int64_t) {}});
  }
  std::shared_ptr<const Memory> Must(const MemoryChange& change) {
    return Do(change).value();
  }

  // A memory of windows of its own for each of the texts.
  struct Part {
    Ids tokens;
    std::string source = {};
  };
  std::shared_ptr<const Memory> Make(const std::string& name, const std::vector<Part>& parts) {
    std::shared_ptr<const Memory> memory = Must(CreateRequest{.name = name,
                                                              .leading = {198},
                                                              .tokens = parts[0].tokens,
                                                              .layers = {1, 2},
                                                              .source = parts[0].source});
    for (size_t i = 1; i < parts.size(); ++i) {
      memory = Must(AppendRequest{.memory = name, .tokens = parts[i].tokens, .source = parts[i].source});
    }
    return memory;
  }
  std::shared_ptr<const Memory> Make(const std::string& name, const std::string& text) {
    return Make(name, {{Encode(text)}});
  }
  std::shared_ptr<const Memory> Forget(const std::string& name, ForgottenContent content) {
    return Must(ForgetRequest{.memory = name, .content = std::move(content)});
  }
  absl::Status Refused(const std::string& name, ForgottenContent content) {
    const std::string before = store_->Find(name).value()->info.digest;
    const absl::Status status = Do(ForgetRequest{.memory = name, .content = std::move(content)}).status();
    EXPECT_EQ(store_->Find(name).value()->info.digest, before);
    return status;
  }

  // Many words, no two windows alike.
  static std::string LongText(int n_words) {
    std::string text;
    for (int i = 0; i < n_words; ++i) absl::StrAppend(&text, " word number ", i, ",");
    return text;
  }
  static Ids Slice(const Ids& ids, size_t first, size_t n) {
    return {ids.begin() + static_cast<ptrdiff_t>(first),
            ids.begin() + static_cast<ptrdiff_t>(std::min(first + n, ids.size()))};
  }
};

TEST_F(ForgetTest, ATextIsAsIfItHadNeverBeenThere) {
  Make("m", "Mr. Smith lives in Paris. He likes cats.");
  const auto memory = Forget("m", ForgottenText{" lives in Paris. He"});
  EXPECT_EQ(memory->tokens(), Encode("Mr. Smith likes cats."));
  EXPECT_EQ(memory->info().digest, Make("expected", "Mr. Smith likes cats.")->info().digest);
}

TEST_F(ForgetTest, WhatIsLeftIsTokenizedAnew) {
  Make("m", "un-believ-able");
  const auto memory = Forget("m", ForgottenText{"-"});
  EXPECT_EQ(memory->tokens(), Encode("unbelievable"));
  EXPECT_EQ(memory->info().digest, Make("expected", "unbelievable")->info().digest);
}

TEST_F(ForgetTest, EveryOccurrenceGoesAlsoWithinTokens) {
  Make("m", "The cat and the caterpillar, cats");
  EXPECT_EQ(Gpt2().Decode(Forget("m", ForgottenText{"cat"})->tokens()), "The  and the erpillar, s");
}

TEST_F(ForgetTest, OnlyWindowsThatAreTouchedAreRunAgain) {
  const Ids ids = Encode(LongText(40));
  const auto before = Make("m", {{ids}});
  const std::string second = Gpt2().Decode(Slice(ids, kWindow, kWindow));
  const std::string forgotten = second.substr(20, 15);
  const auto memory = Forget("m", ForgottenText{forgotten});
  std::string rest = second;
  rest.erase(20, 15);
  ASSERT_GT(before->windows().size(), 2u);
  std::vector<Part> expected = {{Slice(ids, 0, kWindow)}, {Encode(rest)}};
  for (size_t first = 2 * kWindow; first < ids.size(); first += kWindow)
    expected.push_back({Slice(ids, first, kWindow)});
  EXPECT_EQ(memory->info().digest, Make("expected", expected)->info().digest);
  EXPECT_EQ(memory->windows()[0], before->windows()[0]);
  EXPECT_EQ(memory->windows()[2], before->windows()[2]);
}

TEST_F(ForgetTest, ATextMayLieAcrossWindows) {
  const Ids ids = Encode(LongText(40));
  Make("m", {{ids}});
  const std::string first = Gpt2().Decode(Slice(ids, 0, kWindow)),
                    second = Gpt2().Decode(Slice(ids, kWindow, kWindow));
  const auto memory = Forget("m", ForgottenText{first.substr(first.size() - 9) + second.substr(0, 7)});
  std::vector<Part> expected = {{Encode(first.substr(0, first.size() - 9))}, {Encode(second.substr(7))}};
  for (size_t at = 2 * kWindow; at < ids.size(); at += kWindow) expected.push_back({Slice(ids, at, kWindow)});
  EXPECT_EQ(memory->info().digest, Make("expected", expected)->info().digest);
}

TEST_F(ForgetTest, AWindowThatIsLeftEmptyDisappears) {
  const Ids ids = Encode(LongText(40));
  Make("m", {{ids}});
  const auto memory = Forget("m", ForgottenText{Gpt2().Decode(Slice(ids, kWindow, kWindow))});
  std::vector<Part> expected = {{Slice(ids, 0, kWindow)}};
  for (size_t at = 2 * kWindow; at < ids.size(); at += kWindow) expected.push_back({Slice(ids, at, kWindow)});
  EXPECT_EQ(memory->info().digest, Make("expected", expected)->info().digest);
}

TEST_F(ForgetTest, AWindowThatGrewIsSplit) {
  std::string text, rest;
  for (size_t i = 0; i < kWindow; ++i) text += " Washington", rest += " Washton";
  ASSERT_THAT(Encode(text), SizeIs(kWindow));
  ASSERT_GT(Encode(rest).size(), kWindow);
  Make("m", text);
  const auto memory = Forget("m", ForgottenText{"ing"});
  EXPECT_EQ(memory->tokens(), Encode(rest));
  EXPECT_EQ(memory->info().digest, Make("expected", rest)->info().digest);
}

TEST_F(ForgetTest, TokensAreTakenOutAsTheyAre) {
  const Ids ids = Encode("one two three four five six");
  Make("m", {{ids}});
  const auto memory = Forget("m", TokenRange{1, 3});
  EXPECT_EQ(memory->tokens(), Encode("one five six"));
  EXPECT_EQ(memory->info().digest, Make("expected", "one five six")->info().digest);
}

TEST_F(ForgetTest, TokensMayLieInSeveralWindows) {
  const Ids ids = Encode(LongText(60));
  Make("m", {{ids}});
  const auto memory = Forget("m", TokenRange{kWindow - 10, kWindow + 15});  // a whole one between
  std::vector<Part> expected = {{Slice(ids, 0, kWindow - 10)}, {Slice(ids, 2 * kWindow + 5, kWindow - 5)}};
  for (size_t at = 3 * kWindow; at < ids.size(); at += kWindow) expected.push_back({Slice(ids, at, kWindow)});
  EXPECT_EQ(memory->info().digest, Make("expected", expected)->info().digest);
}

TEST_F(ForgetTest, ASourceGoesWithAllItsWindows) {
  const Ids a = Encode(LongText(30)), b = Encode(LongText(20)), c = Encode("other text");
  Make("m", {{a, "a"}, {b, "b"}, {c, ""}, {b, "a"}, {c, "b"}});
  EXPECT_EQ(Forget("m", ForgottenSource{"b"})->info().digest,
            Make("without-b", {{a, "a"}, {c, ""}, {b, "a"}})->info().digest);
  EXPECT_EQ(Forget("m", ForgottenSource{""})->info().digest,
            Make("only-a", {{a, "a"}, {b, "a"}})->info().digest);
}

TEST_F(ForgetTest, SegmentsThatAreNotTouchedAreKept) {
  const auto before = Make("m", {{Encode(LongText(40))}, {Encode(LongText(6)), "b"}, {Encode("last")}});
  ASSERT_THAT(before->segments(), SizeIs(3));
  const auto memory = Forget("m", ForgottenSource{"b"});
  ASSERT_THAT(memory->segments(), SizeIs(2));
  EXPECT_EQ(memory->segments()[0]->digest(), before->segments()[0]->digest());
  EXPECT_EQ(memory->segments()[1]->digest(), before->segments()[2]->digest());
}

TEST_F(ForgetTest, BetweenTouchedSegmentsWindowsAreCopiedIntoOne) {
  const Ids a = Encode(LongText(60)), b = Encode(LongText(25)), c = Encode("tail");
  const auto before = Make("m", {{a, "a"}, {b, "b"}, {c, "c"}});
  ASSERT_THAT(before->segments(), SizeIs(3));
  const auto memory =
      Forget("m", TokenRange{static_cast<int64_t>(a.size()) - 2, static_cast<int64_t>(b.size()) + 3});
  EXPECT_THAT(memory->segments(), SizeIs(1));
  EXPECT_EQ(memory->n_tokens(), static_cast<int64_t>(a.size()) - 2 + static_cast<int64_t>(c.size()) - 1);
}

// Tokens of a character that lies across two windows are no UTF-8 by themselves.
TEST_F(ForgetTest, BrokenTextLosesTokens) {
  Ids ids = Encode("A cat sat.");
  const size_t cat = 1;
  ASSERT_EQ(Gpt2().TokenBytes(ids[cat]), " cat");
  while (ids.size() < kWindow - 1) ids.push_back(Encode(" a")[0]);
  const Ids face = Encode("\xF0\x9F\x98\x80");
  ASSERT_GT(face.size(), 1u);
  ids.insert(ids.end(), face.begin(), face.end());
  ids.push_back(Encode(" end")[0]);
  Make("m", {{ids}});
  const auto memory = Forget("m", ForgottenText{"ca"});
  Ids expected = ids;
  expected.erase(expected.begin() + cat);
  EXPECT_EQ(memory->tokens(), expected);
  EXPECT_THAT(memory->windows(), SizeIs(2));
}

TEST_F(ForgetTest, ATokenWithoutTextStaysWhatItIs) {
  const int32_t end_of_text = *Gpt2().end_of_text();
  Ids ids = Encode("one two");
  ids.push_back(end_of_text);
  ids.push_back(Encode(" three")[0]);
  Make("m", {{ids}});
  EXPECT_THAT(Forget("m", ForgottenText{" tw"})->tokens(),
              ElementsAre(Encode("one")[0], end_of_text, Encode(" three")[0]));
}

TEST_F(ForgetTest, WhatIsNotThereIsNotFound) {
  Make("m", {{Encode("one two three"), "a"}});
  const auto code = [&](ForgottenContent content) { return Refused("m", std::move(content)).code(); };
  EXPECT_EQ(code(ForgottenText{"four"}), absl::StatusCode::kNotFound);
  EXPECT_EQ(code(TokenRange{3, 1}), absl::StatusCode::kNotFound);
  EXPECT_EQ(code(TokenRange{1, 3}), absl::StatusCode::kNotFound);
  EXPECT_EQ(code(TokenRange{INT64_MAX, INT64_MAX}), absl::StatusCode::kNotFound);
  EXPECT_EQ(code(ForgottenSource{""}), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(Refused("m", ForgottenSource{"b"}).message()), HasSubstr("it has \"a\""));
}

TEST_F(ForgetTest, AMemoryIsNotEmptied) {
  Make("m", {{Encode("one two three"), "a"}});
  for (const ForgottenContent& content :
       {ForgottenContent(TokenRange{0, 3}), ForgottenContent(ForgottenSource{"a"}),
        ForgottenContent(ForgottenText{"one two three"})}) {
    EXPECT_EQ(Refused("m", content).code(), absl::StatusCode::kFailedPrecondition);
  }
}

TEST_F(ForgetTest, OlderVersionsArePurgedWhereAsked) {
  const auto first = Make("m", "one two three");
  const auto second = Forget("m", ForgottenText{" two"});
  EXPECT_TRUE(store_->Get(absl::StrCat("m@", first->info().digest)).ok());
  Must(ForgetRequest{.memory = "m", .content = ForgottenText{" three"}, .purge_older_versions = true});
  EXPECT_THAT(store_->Find("m").value()->versions, SizeIs(1));
  for (const auto& old : {first, second}) {
    EXPECT_EQ(store_->Get(absl::StrCat("m@", old->info().digest)).status().code(),
              absl::StatusCode::kNotFound);
  }
}

// Random texts of few words in random windows: what is left has each window's text without the occurrences.
TEST_F(ForgetTest, TheRestOfEachWindowIsItsTextWithoutTheOccurrences) {
  const auto seed = std::random_device()();
  std::cout << "seed " << seed << "\n";
  std::mt19937 random(seed);
  const std::vector<std::string> words = {"a", "b ", " ab", "aba", "\xC3\xA9", "."};
  for (int round = 0; round < 20; ++round) {
    std::vector<std::string> texts;
    std::vector<Part> parts;
    std::string all;
    for (size_t n = 1 + random() % 4; n > 0; --n) {
      std::string text;
      for (size_t i = 1 + random() % 12; i > 0; --i) text += words[random() % words.size()];
      texts.push_back(text);
      parts.push_back({Encode(text)});
      all += text;
    }
    const size_t length = 1 + random() % 4;
    const std::string pattern = all.substr(random() % all.size(), length);
    if (!Gpt2().Encode(pattern).ok()) continue;  // half a character
    std::vector<bool> gone(all.size(), false);
    for (size_t at = all.find(pattern); at != std::string::npos; at = all.find(pattern, at + 1)) {
      std::fill_n(gone.begin() + static_cast<ptrdiff_t>(at), pattern.size(), true);
    }
    std::vector<Part> expected;
    size_t at = 0;
    for (const std::string& text : texts) {
      std::string rest;
      for (const char c : text) {
        if (!gone[at++]) rest += c;
      }
      if (!rest.empty()) expected.push_back({Encode(rest)});
    }
    if (expected.empty()) continue;
    const std::string name = absl::StrCat("m", round);
    Make(name, parts);
    EXPECT_EQ(Forget(name, ForgottenText{pattern})->info().digest, Make(name + "x", expected)->info().digest)
        << all << " without " << pattern;
  }
}

}  // namespace
}  // namespace mtm
