// SPDX-License-Identifier: Apache-2.0
// Manifests and headers that somebody wrote on purpose, their checksums right.
#include "memory_store/manifest.h"

#include <cstring>
#include <string>

#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "memory_store/digest.h"
#include "memory_store/memory_header.h"
#include "memory_store/memory_layout.h"
#include "nlohmann/json.hpp"
#include "tests/memory_store/test_memory.h"

namespace mtm {
namespace {

using testing::HasSubstr;
using Json = nlohmann::json;

std::string Sealed(const std::string& body, const std::string& version = "1") {
  return absl::StrFormat("mtm-manifest %s %016x\n%s", version, BlockChecksum(version + "\n" + body), body);
}

void ExpectLoss(const absl::Status& status, const std::string& part) {
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(part));
}

TEST(ManifestTest, IsReadBack) {
  const Manifest manifest = {
      {"cats", {.digest = std::string(64, 'a'), .create_time = absl::FromUnixMicros(1), .size_bytes = 1}},
      {"team/dogs",
       {.digest = std::string(64, 'b'),
        .create_time = absl::FromUnixMicros(1'700'000'000'123'456),
        .size_bytes = 0}}};
  const auto decoded = DecodeManifest(EncodeManifest(manifest));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(*decoded, manifest);
  EXPECT_EQ(DecodeManifest(EncodeManifest({}))->size(), 0u);
}

TEST(ManifestTest, KeysFromTheFutureAreIgnored) {
  const std::string text =
      Sealed(R"({"memories":{"cats":{"digest":")" + std::string(64, 'a') +
             R"(","create_time":"2026-01-31T12:00:00Z","size":9,"labels":["x"]}},"policy":{}})");
  const auto decoded = DecodeManifest(text);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->at("cats").size_bytes, 9);
}

TEST(ManifestTest, NewerVersionIsRefusedNamingBoth) {
  const absl::Status status = DecodeManifest(Sealed("anything", "2")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("version 2; this reader reads version 1"));
}

TEST(ManifestTest, HostileOnesAreRefused) {
  const auto entry = [](const std::string& name, const std::string& fields) {
    return Sealed(R"({"memories":{")" + name + R"(":)" + fields + "}}");
  };
  const std::string good =
      R"({"digest":")" + std::string(64, 'a') + R"(","create_time":"2026-01-31T12:00:00Z","size":9})";
  ASSERT_TRUE(DecodeManifest(entry("cats", good)).ok());
  ExpectLoss(DecodeManifest(entry("../cats", good)).status(), "memory name");
  ExpectLoss(DecodeManifest(entry("cats", "7")).status(), "memory 'cats': it is not an object");
  ExpectLoss(
      DecodeManifest(
          entry("cats", R"({"digest":"../../etc/passwd","create_time":"2026-01-31T12:00:00Z","size":9})"))
          .status(),
      "'digest'");
  ExpectLoss(
      DecodeManifest(entry("cats", R"({"digest":7,"create_time":"2026-01-31T12:00:00Z","size":9})")).status(),
      "'digest'");
  const std::string digest = R"({"digest":")" + std::string(64, 'a') + R"(",)";
  ExpectLoss(DecodeManifest(entry("cats", digest + R"("create_time":"yesterday","size":9})")).status(),
             "'create_time'");
  for (const char* size : {"-1", "1e30", "99999999999999999999", "\"9\"", "null", "1.5"}) {
    ExpectLoss(
        DecodeManifest(entry("cats", digest + R"("create_time":"2026-01-31T12:00:00Z","size":)" + size + "}"))
            .status(),
        "'size'");
  }
  ExpectLoss(DecodeManifest(Sealed("{")).status(), "not a JSON object");
  ExpectLoss(DecodeManifest(Sealed("[]")).status(), "not a JSON object");
  ExpectLoss(DecodeManifest(Sealed("{}")).status(), "'memories'");
  ExpectLoss(DecodeManifest(Sealed(std::string(1'000'000, '['))).status(), "not a JSON object");
  ExpectLoss(DecodeManifest(Sealed("{}", "one")).status(), "version is no number");
  ExpectLoss(DecodeManifest(Sealed("{}", "-1")).status(), "version is no number");
  ExpectLoss(DecodeManifest("").status(), "does not begin");
  ExpectLoss(DecodeManifest("mtm-manifest 1").status(), "first line is cut");
}

class HeaderTest : public testing::Test {
 protected:
  HeaderTest() : header_(Json::parse(EncodeHead(layout_).substr(kPreambleSize))) {}

  absl::StatusOr<MemoryLayout> Decode(const std::string& header) const {
    std::string head = EncodeHead(layout_).substr(0, kPreambleSize) + header;
    const auto size = static_cast<uint32_t>(header.size());
    std::memcpy(&head[12], &size, sizeof(size));
    const uint64_t checksum = BlockChecksum(head.substr(0, 24) + header);
    std::memcpy(&head[24], &checksum, sizeof(checksum));
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

  const MemoryLayout layout_ = LayOut(TestMemory(1).spec);
  const Json header_;
};

TEST_F(HeaderTest, IsReadBack) {
  const auto decoded = Decode(header_.dump());
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->data_size, layout_.data_size);
  EXPECT_EQ(decoded->sections.size(), 5u);
  EXPECT_EQ(decoded->spec.layers, layout_.spec.layers);
}

TEST_F(HeaderTest, LongHeaderLeavesRoomForItself) {
  MemorySpec spec = TestMemory(1).spec;
  spec.layers.clear();
  for (int layer = 1; layer <= 200; ++layer) spec.layers.push_back(layer);
  const MemoryLayout layout = LayOut(spec);
  const std::string head = EncodeHead(layout);
  EXPECT_GT(head.size(), kSectionAlignment);
  EXPECT_GE(layout.sections[0].offset, head.size());
  EXPECT_TRUE(DecodeHead(std::as_bytes(std::span(head))).ok());
}

TEST_F(HeaderTest, FieldsThatLieAreRefused) {
  for (const Json& bad : {Json(-1), Json(0), Json(1.5), Json("3"), Json(nullptr), Json(1e300),
                          Json(18'446'744'073'709'551'615u)}) {
    for (const char* field : {"/n_head", "/head_dim", "/n_tokens"}) ExpectRefused(field, bad, field + 1);
    ExpectRefused("/layers/0", bad, "layer");
  }
  ExpectRefused("/n_tokens", 8, "section tokens has 28 bytes instead of 32");
  ExpectRefused("/n_dropped", -1, "n_dropped");
  ExpectRefused("/model_fingerprint", "x", "fingerprint");
  ExpectRefused("/layers", 3, "layers");
  ExpectRefused("/layers", Json::array(), "layers");
  ExpectRefused("/layers", {2, 5, 7}, "section keys of layer 7 is there 0 times");
  ExpectRefused("/sections", 3, "sections");
  ExpectRefused("/sections", Json::array(), "section tokens is there 0 times");
}

TEST_F(HeaderTest, SectionsThatLieWhereTheyCannotAreRefused) {
  for (const Json& bad : {Json(0), Json(1), Json(layout_.data_size), Json(layout_.sections[2].offset),
                          Json(std::numeric_limits<int64_t>::max() / 4096 * 4096)}) {
    ExpectRefused("/sections/1/offset", bad, "of layer 2 lies where it cannot");
  }
  ExpectRefused("/sections/1/offset", -4096, "'offset'");
  ExpectRefused("/sections/1/size", 0, "has 0 bytes instead of 336");
  ExpectRefused("/sections/1/layer", 5, "section keys of layer 2 is there 0 times");
  ExpectRefused("/sections/1/kind", "values", "section keys of layer 2 is there 0 times");
  ExpectRefused("/sections/1", 1, "a section is not an object");
}

TEST_F(HeaderTest, WhatThisReaderDoesNotKnowIsRefusedUnlessOptional) {
  ExpectRefused("/dtype", "F16", "'F16'; this reader reads F32", absl::StatusCode::kFailedPrecondition);
  Json header = header_;
  header["sections"].push_back({{"kind", "index"}, {"layer", 2}, {"offset", layout_.data_size}, {"size", 0}});
  EXPECT_EQ(Decode(header.dump()).status().code(), absl::StatusCode::kFailedPrecondition);
  header["sections"].back()["optional"] = true;
  header["something_new"] = 1;
  EXPECT_TRUE(Decode(header.dump()).ok());
}

}  // namespace
}  // namespace mtm
