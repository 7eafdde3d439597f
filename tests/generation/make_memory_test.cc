// SPDX-License-Identifier: Apache-2.0
#include "server/generation/make_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "absl/strings/str_cat.h"
#include "memory_store/segment.h"
#include "server/model/sequence.h"
#include "tests/generation/fixture.h"

namespace mtm {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::SizeIs;

using Labels = std::map<std::string, std::string>;
using Rows = std::pair<std::vector<float>, std::vector<float>>;

class MakeMemoryTest : public GenerationTest {
 protected:
  // Keys and values of a (layer, head), rows [first, first + n).
  static Rows RowsOf(const Memory& memory, int layer, int head, int64_t first, size_t n) {
    Rows rows{std::vector<float>(n * 8), std::vector<float>(n * 8)};
    memory.CopyRows(layer, head, first, rows.first, rows.second);
    return rows;
  }

  // Those of a plain run of the tokens behind the leading one.
  Rows PlainRun(std::span<const int32_t> tokens, int layer, int head) const {
    Sequence sequence(*model_, {.capacity = 48});
    sequence.Append(std::vector<int32_t>{198});
    sequence.Append(tokens);
    Sequence* const batch[] = {&sequence};
    EXPECT_TRUE(model_->Step(batch).ok());
    Rows rows{std::vector<float>(tokens.size() * 8), std::vector<float>(tokens.size() * 8)};
    EXPECT_TRUE(sequence.CopyKeysValues(layer, head, 1, rows.first, rows.second).ok());
    return rows;
  }

  std::shared_ptr<const Memory> Append(const std::string& name, std::vector<int32_t> tokens,
                                       const std::string& source = "") {
    const auto memory = Change(AppendRequest{.memory = name, .tokens = std::move(tokens), .source = source});
    EXPECT_TRUE(memory.ok()) << memory.status();
    return *memory;
  }

  static std::vector<int64_t> WindowSizes(const Memory& memory) {
    std::vector<int64_t> sizes;
    for (const MemoryWindow& window : memory.windows()) sizes.push_back(window.n_tokens);
    return sizes;
  }
};

// METHOD 1: the rows of a window are those of a plain run of its tokens behind the leading ones.
TEST_F(MakeMemoryTest, AWindowHoldsTheKeysAndValuesOfAPlainRun) {
  const CreateRequest request = Request("m", 60);
  const auto memory = MakeMemory(*model_, *store_, request).value();
  EXPECT_THAT(WindowSizes(*memory), ElementsAre(47, 13));
  EXPECT_EQ(memory->tokens(), request.tokens);
  EXPECT_THAT(memory->spec().leading, ElementsAre(198));
  EXPECT_EQ(RowsOf(*memory, 3, 2, 47, 13), PlainRun(std::span(request.tokens).subspan(47), 3, 2));
}

TEST_F(MakeMemoryTest, HalfPrecisionRoundsEveryNumber) {
  CreateRequest request = Request("half", 10);
  request.dtype = DataType::kF16;
  const auto half = MakeMemory(*model_, *store_, request).value();
  EXPECT_EQ(half->spec().dtype, DataType::kF16);
  const Rows rows = RowsOf(*half, 2, 1, 0, 10), plain = PlainRun(request.tokens, 2, 1);
  for (size_t i = 0; i < rows.first.size(); ++i) {
    EXPECT_LE(std::abs(rows.first[i] - plain.first[i]), std::abs(plain.first[i]) / 2048 + 1e-7) << i;
    EXPECT_LE(std::abs(rows.second[i] - plain.second[i]), std::abs(plain.second[i]) / 2048 + 1e-7) << i;
  }
}

TEST_F(MakeMemoryTest, AnAppendIsTheSameAsTheWholeMadeAtOnceWhereWindowsAreFull) {
  Remember("whole", 141);
  Remember("parts", 47);
  const std::vector<int32_t> tokens = Tokens(141, 5);
  Append("parts", {tokens.begin() + 47, tokens.begin() + 94});
  const auto parts = Append("parts", {tokens.begin() + 94, tokens.end()});
  EXPECT_EQ(parts->info().digest, store_->Get("whole").value()->info().digest);
  EXPECT_EQ(parts->info().source_digest, store_->Get("whole").value()->info().source_digest);
}

TEST_F(MakeMemoryTest, AnAppendBeginsAWindow) {
  const auto first = Remember("m", 10);
  const auto second = Append("m", Tokens(60, 7), "more");
  EXPECT_THAT(WindowSizes(*second), ElementsAre(10, 47, 13));
  EXPECT_EQ(second->windows()[0], first->windows()[0]);
  EXPECT_EQ(second->windows()[2].source, "more");
  const std::vector<int32_t> appended = Tokens(60, 7);
  EXPECT_EQ(RowsOf(*second, 1, 0, 57, 13), PlainRun(std::span(appended).subspan(47), 1, 0));
  EXPECT_THAT(store_->Find("m").value()->versions, SizeIs(2));
}

TEST_F(MakeMemoryTest, AnAppendTakesLeadingTokensAndDataTypeFromTheMemory) {
  CreateRequest request = Request("m", 20);
  request.leading = {};
  request.layers = {2, 4};
  request.dtype = DataType::kF16;
  ASSERT_TRUE(MakeMemory(*model_, *store_, request).ok());
  const auto memory = Append("m", Tokens(50, 1));
  EXPECT_THAT(WindowSizes(*memory), ElementsAre(20, 48, 2));
  EXPECT_EQ(memory->spec().dtype, DataType::kF16);
  EXPECT_THAT(memory->spec().layers, ElementsAre(2, 4));
}

TEST_F(MakeMemoryTest, ManySmallAppendsMakeFewSegments) {
  Remember("m", 5);
  for (int i = 0; i < 60; ++i) Append("m", Tokens(1 + i % 3, i));
  const auto memory = store_->Get("m").value();
  EXPECT_EQ(memory->n_tokens(), 125);
  EXPECT_LE(memory->segments().size(), 8u);
  EXPECT_THAT(memory->windows(), SizeIs(61));
}

TEST_F(MakeMemoryTest, AReplacementLeavesTheOldVersionToWhoHoldsIt) {
  const auto old = Remember("m", 60);
  const Rows rows = RowsOf(*old, 3, 2, 0, 60);
  CreateRequest request = Request("m", 30);
  request.replace = true;
  const auto made = Change(request);
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(store_->Get("m").value()->info().digest, (*made)->info().digest);
  EXPECT_EQ(old->tokens(), Tokens(60, 5));
  EXPECT_EQ(RowsOf(*old, 3, 2, 0, 60), rows);
  EXPECT_EQ(store_->Get(absl::StrCat("m@", old->info().digest)).value()->n_tokens(), 60);
}

TEST_F(MakeMemoryTest, LabelsAndMetadataStayUnlessGiven) {
  CreateRequest request = Request("m", 5);
  request.labels = Labels{{"team", "a"}};
  request.metadata = "{\"x\":1}";
  ASSERT_TRUE(Change(request).ok());
  request = Request("m", 6);
  request.replace = true;
  ASSERT_TRUE(Change(request).ok());
  EXPECT_THAT(store_->Find("m").value()->labels, ElementsAre(std::pair("team", "a")));
  EXPECT_EQ(store_->Find("m").value()->metadata, "{\"x\":1}");
  request.tokens.push_back(1);
  request.labels = Labels{{"team", "b"}};
  ASSERT_TRUE(Change(request).ok());
  EXPECT_THAT(store_->Find("m").value()->labels, ElementsAre(std::pair("team", "b")));
}

TEST_F(MakeMemoryTest, ADigestMustBeTheCurrentVersions) {
  const auto first = Remember("m", 10);
  const std::string old = absl::StrCat("m@", first->info().digest);
  const auto second = Change(AppendRequest{.memory = old.substr(0, 10), .tokens = {1}});
  ASSERT_TRUE(second.ok()) << second.status();
  const absl::Status status = Change(AppendRequest{.memory = old, .tokens = {1}}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(absl::StrCat("which is m@", (*second)->info().digest)));
}

TEST_F(MakeMemoryTest, AnotherModelsMemoryCannotBeAppendedTo) {
  ModelConfig config = model_->config();
  const auto other = Model::Random(config, 3).value();
  ASSERT_TRUE(MakeMemory(*other, *store_, Request("m", 10)).ok());
  const absl::Status status = Change(AppendRequest{.memory = "m", .tokens = {1}}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("another model"));
}

TEST_F(MakeMemoryTest, AMemoryMadeWithOtherWeightsCannotBeAppendedTo) {
  const auto rounded = Model::Load(MTM_TESTDATA "/golden/tiny", "cpu", WeightType::kInt8).value();
  const auto made = MakeMemory(*rounded, *store_, Request("m", 10));
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ((*made)->spec().weights, WeightType::kInt8);
  const absl::Status status = Change(AppendRequest{.memory = "m", .tokens = {1}}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("made with int8 weights, and would be changed with fp32"));
}

TEST_F(MakeMemoryTest, AChangeThatWasOvertakenIsAborted) {
  Remember("m", 100);
  const auto step = [&](Sequence& sequence) {
    Sequence* const batch[] = {&sequence};
    return model_->Step(batch);
  };
  bool overtaken = false;
  const auto progress = [&](int64_t, int64_t) {
    if (!std::exchange(overtaken, true)) Append("m", {7, 8});
  };
  const auto memory =
      MakeMemory(*model_, nullptr, *store_, {.change = AppendRequest{.memory = "m", .tokens = {1, 2, 3}}},
                 {.step = step, .check = [] { return absl::OkStatus(); }, .progress = progress});
  EXPECT_EQ(memory.status().code(), absl::StatusCode::kAborted) << memory.status();
  EXPECT_EQ(store_->Get("m").value()->n_tokens(), 102);
}

TEST_F(MakeMemoryTest, NamesAreCheckedAgainstWhatThereIs) {
  Remember("m", 10);
  EXPECT_EQ(Change(Request("m", 5)).status().code(), absl::StatusCode::kAlreadyExists);
  CreateRequest replacement = Request("n", 5);
  replacement.replace = true;
  EXPECT_EQ(Change(replacement).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Change(AppendRequest{.memory = "n", .tokens = {1}}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Change(ForgetRequest{.memory = "n", .content = TokenRange{0, 1}}).status().code(),
            absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace mtm
