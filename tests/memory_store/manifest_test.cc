// SPDX-License-Identifier: Apache-2.0
// Manifests that somebody wrote on purpose, their checksums right.
#include "memory_store/manifest.h"

#include <string>

#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "memory_store/digest.h"
#include "nlohmann/json.hpp"

namespace mtm {
namespace {

using testing::HasSubstr;
using Json = nlohmann::json;

std::string Sealed(const std::string& body, const std::string& version = "2") {
  return absl::StrFormat("mtm-manifest %s %016x\n%s", version, BlockChecksum(version + "\n" + body), body);
}

void ExpectLoss(const absl::Status& status, const std::string& part) {
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(part));
}

Json GoodManifest() {
  const Json version = {{"create_time", "2026-01-31T12:00:00Z"},
                        {"digest", std::string(64, 'a')},
                        {"n_tokens", 3},
                        {"segments", {std::string(64, 'b')}},
                        {"size", 9},
                        {"source_digest", std::string(64, 'c')}};
  return {{"generation", 7},
          {"memories", {{"cats", {{"labels", {{"k", "v"}}}, {"metadata", "m"}, {"versions", {version}}}}}},
          {"requests", {{{"digest", std::string(64, 'a')}, {"id", "r"}, {"name", "cats"}}}}};
}

absl::Status StatusWith(const std::string& pointer, const Json& value) {
  Json manifest = GoodManifest();
  manifest[Json::json_pointer(pointer)] = value;
  return DecodeManifest(Sealed(manifest.dump())).status();
}

TEST(ManifestTest, IsReadBack) {
  const auto decoded = DecodeManifest(Sealed(GoodManifest().dump()));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->generation, 7);
  EXPECT_EQ(decoded->memories.at("cats")->current().n_tokens, 3);
  EXPECT_EQ(decoded->memories.at("cats")->labels.at("k"), "v");
  EXPECT_EQ(decoded->writes.at(0).id, "r");
  const auto again = DecodeManifest(EncodeManifest(*decoded));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(*again->memories.at("cats"), *decoded->memories.at("cats"));
  EXPECT_EQ(again->writes, decoded->writes);
}

TEST(ManifestTest, KeysFromTheFutureAreIgnored) {
  for (const char* pointer : {"/policy", "/memories/cats/policy", "/memories/cats/versions/0/policy"}) {
    EXPECT_TRUE(StatusWith(pointer, 1).ok()) << pointer;
  }
}

TEST(ManifestTest, OtherFormatsAreRefusedNamingBoth) {
  for (const char* version : {"1", "3"}) {
    const absl::Status status = DecodeManifest(Sealed("anything", version)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()), HasSubstr(version));
    EXPECT_THAT(std::string(status.message()), HasSubstr("2"));
  }
}

TEST(ManifestTest, HostileOnesAreRefused) {
  Json renamed = GoodManifest();
  renamed["memories"]["../cats"] = renamed["memories"]["cats"];
  ExpectLoss(DecodeManifest(Sealed(renamed.dump())).status(), "memory name");
  const std::string version = "/memories/cats/versions/0";
  for (const char* field : {"/digest", "/source_digest", "/segments/0"}) {
    for (const Json& bad : {Json("../../etc/passwd"), Json(7), Json(nullptr), Json("")}) {
      EXPECT_EQ(StatusWith(version + field, bad).code(), absl::StatusCode::kDataLoss) << field << bad;
    }
  }
  for (const char* field : {"/size", "/n_tokens"}) {
    for (const Json& bad : {Json(-1), Json(1e30), Json("9"), Json(nullptr), Json(1.5)}) {
      ExpectLoss(StatusWith(version + field, bad), field + 1);
    }
  }
  ExpectLoss(StatusWith(version + "/create_time", "yesterday"), "create_time");
  for (const char* pointer : {"/memories", "/memories/cats", "/memories/cats/versions",
                              "/memories/cats/labels", "/requests", "/requests/0", "/generation"}) {
    EXPECT_EQ(StatusWith(pointer, "x").code(), absl::StatusCode::kDataLoss) << pointer;
  }
  EXPECT_EQ(StatusWith("/memories/cats/versions", Json::array()).code(), absl::StatusCode::kDataLoss);
  ExpectLoss(DecodeManifest(Sealed("{")).status(), "not a JSON object");
  ExpectLoss(DecodeManifest(Sealed("[]")).status(), "not a JSON object");
  ExpectLoss(DecodeManifest(Sealed(std::string(1'000'000, '['))).status(), "not a JSON object");
  ExpectLoss(DecodeManifest(Sealed("{}", "one")).status(), "version is no number");
  ExpectLoss(DecodeManifest("").status(), "does not begin");
  ExpectLoss(DecodeManifest("mtm-manifest 2").status(), "first line is cut");
}

}  // namespace
}  // namespace mtm
