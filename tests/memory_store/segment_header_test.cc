// SPDX-License-Identifier: Apache-2.0
// Headers that somebody wrote on purpose, their checksums right.
#include "memory_store/segment_header.h"

#include <cstring>
#include <limits>
#include <set>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "memory_store/digest.h"
#include "nlohmann/json.hpp"
#include "tests/memory_store/test_memory.h"

namespace mtm {
namespace {

using testing::HasSubstr;
using Json = nlohmann::json;

class SegmentHeaderTest : public testing::TestWithParam<DataType> {
 protected:
  absl::StatusOr<SegmentLayout> Decode(const std::string& header) const {
    const std::string head = EncodeHead(kSegmentMagic, header, layout_.data_size);
    return DecodeHead(std::as_bytes(std::span(head)));
  }

  void ExpectRefused(const std::string& pointer, const Json& value, const std::string& part,
                     absl::StatusCode code = absl::StatusCode::kDataLoss) const {
    Json header = header_;
    header[Json::json_pointer(pointer)] = value;
    const absl::Status status = Decode(header.dump()).status();
    EXPECT_EQ(status.code(), code) << pointer << " " << value << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(part));
  }

  const std::vector<MemoryWindow> windows_ = {
      {.n_tokens = 3, .digest = std::string(64, 'b'), .source = "a"},
      {.n_tokens = 4, .digest = std::string(64, 'c'), .source = "\n\"\\"}};
  const SegmentLayout layout_ = LayOut(TestMemory(1, 7, GetParam()).spec, windows_);
  const Json header_ = Json::parse(EncodeHead(layout_).substr(kPreambleSize));
};

TEST_P(SegmentHeaderTest, IsReadBack) {
  const auto decoded = Decode(header_.dump());
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->spec, layout_.spec);
  EXPECT_EQ(decoded->windows, windows_);
  EXPECT_EQ(decoded->n_tokens, 7);
  EXPECT_EQ(decoded->data_size, layout_.data_size);
  ASSERT_EQ(decoded->sections.size(), 5u);
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(decoded->sections[i].Describe(), layout_.sections[i].Describe());
    EXPECT_EQ(decoded->sections[i].offset, layout_.sections[i].offset);
    EXPECT_EQ(decoded->sections[i].size, layout_.sections[i].size);
  }
}

TEST_P(SegmentHeaderTest, RoundedWeightsAreSaidAndChangeTheDigest) {
  EXPECT_FALSE(header_.contains("weights"));
  std::set<std::string> digests = {VersionDigest(layout_.spec, windows_)};
  for (const WeightType type : {WeightType::kF16, WeightType::kInt8, WeightType::kBF16}) {
    MemorySpec spec = layout_.spec;
    spec.weights = type;
    const SegmentLayout layout = LayOut(spec, windows_);
    const Json header = Json::parse(EncodeHead(layout).substr(kPreambleSize));
    EXPECT_EQ(header["weights"], NameOf(type));
    const std::string head = EncodeHead(layout);
    const auto decoded = DecodeHead(std::as_bytes(std::span(head)));
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    EXPECT_EQ(decoded->spec, spec);
    EXPECT_TRUE(digests.insert(VersionDigest(spec, windows_)).second);
  }
}

TEST_P(SegmentHeaderTest, FieldsThatLieAreRefused) {
  for (const Json& bad : {Json(-1), Json(0), Json(1.5), Json("3"), Json(nullptr), Json(1e300),
                          Json(18'446'744'073'709'551'615u)}) {
    for (const char* field : {"/n_head", "/head_dim", "/n_tokens"}) ExpectRefused(field, bad, field + 1);
    ExpectRefused("/layers/0", bad, "layer");
    ExpectRefused("/windows/0/0", bad, "window 0");
  }
  ExpectRefused("/n_tokens", 8, "'n_tokens' is 8; its windows have 7");
  ExpectRefused("/windows/1/0", 5, "'n_tokens' is 7; its windows have 8");
  ExpectRefused("/windows/1/1", std::string(64, 'B'), "window 1");
  ExpectRefused("/windows/1/1", "../../x", "window 1");
  ExpectRefused("/windows/1/2", 3, "window 1");
  ExpectRefused("/windows/1", Json::array({1, 2}), "window 1");
  ExpectRefused("/windows", Json::array(), "no windows");
  ExpectRefused("/windows", 7, "'windows'");
  ExpectRefused("/leading", 3, "'leading'");
  ExpectRefused("/leading/0", -1, "'leading'");
  ExpectRefused("/leading/0", 1e10, "'leading'");
  ExpectRefused("/model_fingerprint", "x", "fingerprint");
  ExpectRefused("/layers", 3, "layers");
  ExpectRefused("/layers", Json::array(), "layers");
  ExpectRefused("/layers", {2, 5, 7}, "section keys of layer 7 is there 0 times");
  ExpectRefused("/sections", 3, "sections");
  ExpectRefused("/sections", Json::array(), "section tokens is there 0 times");
}

TEST_P(SegmentHeaderTest, FieldsThatAreMissingAreRefused) {
  for (const auto& [key, value] : header_.items()) {
    Json header = header_;
    header.erase(key);
    const absl::Status status = Decode(header.dump()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << key;
    EXPECT_THAT(std::string(status.message()), HasSubstr("'" + key + "'"));
  }
}

TEST_P(SegmentHeaderTest, SectionsThatLieWhereTheyCannotAreRefused) {
  for (const Json& bad : {Json(0), Json(1), Json(layout_.data_size), Json(layout_.sections[2].offset),
                          Json(std::numeric_limits<int64_t>::max() / 4096 * 4096)}) {
    ExpectRefused("/sections/1/offset", bad, "of layer 2 lies where it cannot");
  }
  ExpectRefused("/sections/1/offset", -4096, "'offset'");
  ExpectRefused("/sections/1/size", 0, "has 0 bytes instead of ");
  ExpectRefused("/sections/1/layer", 5, "section keys of layer 2 is there 0 times");
  ExpectRefused("/sections/1/kind", "values", "section keys of layer 2 is there 0 times");
  ExpectRefused("/sections/1", 1, "a section is not an object");
  ExpectRefused("/sections/5", header_["sections"][4], "lies where it cannot");
}

TEST_P(SegmentHeaderTest, WhatThisReaderDoesNotKnowIsRefusedUnlessOptional) {
  ExpectRefused("/dtype", "Q8\n", "'Q8\\n'; this reader reads F32 and F16",
                absl::StatusCode::kFailedPrecondition);
  ExpectRefused("/dtype", 8, "'dtype'");
  ExpectRefused("/weights", "int4", "'int4'; this reader knows fp16, int8 and bf16",
                absl::StatusCode::kFailedPrecondition);
  ExpectRefused("/weights", 8, "'weights'");
  Json header = header_;
  header["sections"].push_back({{"kind", "hash"}, {"layer", 2}, {"offset", layout_.data_size}, {"size", 0}});
  const absl::Status status = Decode(header.dump()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("section 'hash'"));
  header["sections"].back()["optional"] = true;
  header["something_new"] = 1;
  EXPECT_TRUE(Decode(header.dump()).ok());
  header["sections"].back()["optional"] = 1;
  EXPECT_FALSE(Decode(header.dump()).ok());
}

TEST_P(SegmentHeaderTest, WhatIsNoHeaderIsRefused) {
  for (const std::string& text : {std::string(), std::string("{"), std::string("[]"), std::string("7"),
                                  std::string("{}"), std::string("\xff\xfe"), header_.dump() + "}"}) {
    EXPECT_EQ(Decode(text).status().code(), absl::StatusCode::kDataLoss) << text;
  }
}

// Each value takes some fifty times as much in memory as in the text.
TEST_P(SegmentHeaderTest, HeaderThatWouldTakeFarMoreMemoryThanItsSizeIsNotParsed) {
  for (const std::string unit : {"[", "0,", "{\"\":", "[],"}) {
    std::string text = "{\"windows\":[";
    while (text.size() < 3'900'000) text += unit;
    const std::string head = EncodeHead(kSegmentMagic, text, 4096 * 4096);
    const absl::Status status = DecodeHead(std::as_bytes(std::span(head))).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(status.message()), HasSubstr("more values than its size allows")) << unit;
  }
}

TEST_P(SegmentHeaderTest, LabelsFullOfCommasAndOfQuotesAreParsed) {
  std::vector<MemoryWindow> windows = windows_;
  windows[0].source =
      std::string(1'000'000, ',') + std::string(1'000'000, '"') + std::string(1'000'001, '\\');
  const SegmentLayout layout = LayOut(layout_.spec, windows);
  const std::string head = EncodeHead(layout);
  const auto decoded = DecodeHead(std::as_bytes(std::span(head)));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->windows, windows);
}

TEST_P(SegmentHeaderTest, HeadCutAnywhereOrWithAnyByteFlippedIsRefused) {
  const std::string good = EncodeHead(layout_);
  ASSERT_TRUE(DecodeHead(std::as_bytes(std::span(good))).ok());
  for (size_t at = 0; at < good.size(); ++at) {
    const std::string cut = good.substr(0, at);
    EXPECT_EQ(DecodeHead(std::as_bytes(std::span(cut))).status().code(), absl::StatusCode::kDataLoss) << at;
    for (const char bit : {1, 16, -128}) {
      std::string flipped = good;
      flipped[at] = static_cast<char>(flipped[at] ^ bit);
      EXPECT_EQ(DecodeHead(std::as_bytes(std::span(flipped))).status().code(), absl::StatusCode::kDataLoss)
          << at;
    }
  }
}

TEST_P(SegmentHeaderTest, OtherVersionIsRefusedNamingBoth) {
  for (const uint32_t version : {0u, 1u, 3u}) {
    std::string head = EncodeHead(layout_);
    std::memcpy(&head[8], &version, sizeof(version));
    const uint64_t checksum = BlockChecksum(head.substr(0, 24) + head.substr(kPreambleSize));
    std::memcpy(&head[24], &checksum, sizeof(checksum));
    const absl::Status status = DecodeHead(std::as_bytes(std::span(head))).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()), HasSubstr("it has format version " + std::to_string(version) +
                                                         "; this reader reads version 2"));
  }
}

INSTANTIATE_TEST_SUITE_P(DataTypes, SegmentHeaderTest, testing::Values(DataType::kF32, DataType::kF16),
                         NameOfDataType);

}  // namespace
}  // namespace mtm
