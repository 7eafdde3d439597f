// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/access.h"

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mtm {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class AccessTest : public testing::Test {
 protected:
  AccessTest() {
    const testing::TestInfo& test = *testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::path(testing::TempDir()) / absl::StrCat("mtm_access_", test.name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~AccessTest() override { fs::remove_all(folder_); }

  fs::path file() const { return folder_ / "access.json"; }

  static std::string With(const std::string& token, const std::string& rights) {
    return absl::StrCat(R"({"tokens":[{"name":"team-a","sha256":")", HashToken(token), R"(","rights":)",
                        rights, "}]}");
  }

  // In place, as an editor that is stopped half-way would leave it.
  void Write(const std::string& content) const { std::ofstream(file(), std::ios::trunc) << content; }

  std::unique_ptr<Access> Load() const {
    auto access = Access::Load(file());
    EXPECT_TRUE(access.ok()) << access.status();
    return access.ok() ? *std::move(access) : nullptr;
  }

  fs::path folder_;
};

TEST_F(AccessTest, ATokenHasItsRights) {
  Write(With("secret", R"({"team":"write","":"read"})"));
  const auto access = Load();
  const auto principal = access->Authenticate("Bearer secret");
  ASSERT_TRUE(principal.ok()) << principal.status();
  EXPECT_EQ(principal->name(), "team-a");
  EXPECT_TRUE(principal->May(Right::kRead, "team/cats"));
  EXPECT_TRUE(principal->May(Right::kWrite, "team/cats/more"));
  EXPECT_FALSE(principal->May(Right::kAdmin, "team/cats"));
  EXPECT_TRUE(principal->May(Right::kRead, "team"));  // no slash: the namespace ""
  EXPECT_FALSE(principal->May(Right::kWrite, "team"));
  EXPECT_FALSE(principal->May(Right::kRead, "teams/cats"));
  EXPECT_FALSE(principal->May(Right::kRead, "tea/cats"));
  EXPECT_FALSE(principal->May(Right::kRead, "other/team/cats"));
}

TEST_F(AccessTest, TheSchemeIsReadInAnyCase) {
  Write(With("secret", "{}"));
  EXPECT_TRUE(Load()->Authenticate("bearer secret").ok());
}

TEST_F(AccessTest, OtherTokensAreUnauthenticated) {
  Write(With("secret", R"({"*":"admin"})"));
  const auto access = Load();
  for (const std::string authorization :
       {"", "secret", "Bearer", "Bearer ", "Bearer  secret", "Bearer secret ", "Bearer secreT",
        "Basic secret", "Bearer secret,Bearer secret"}) {
    EXPECT_EQ(access->Authenticate(authorization).status().code(), absl::StatusCode::kUnauthenticated)
        << authorization;
  }
  // What the file holds is no token.
  EXPECT_FALSE(access->Authenticate("Bearer " + HashToken("secret")).ok());
  EXPECT_FALSE(access->Authenticate("Bearer " + std::string(1 << 20, 'x')).ok());
}

TEST_F(AccessTest, WithoutAFileEverybodyMayDoEverything) {
  EXPECT_TRUE(Principal().May(Right::kAdmin, "any/thing"));
  EXPECT_EQ(Principal().name(), "");
}

TEST_F(AccessTest, WhatMayNotBeReadIsUnknown) {
  Write(With("secret", R"({"team":"read","mine":"write"})"));
  const Principal principal = Load()->Authenticate("Bearer secret").value();
  EXPECT_TRUE(principal.Check(Right::kRead, "team/cats@01234567").ok());
  EXPECT_TRUE(principal.Check(Right::kWrite, "mine/cats").ok());
  const absl::Status denied = principal.Check(Right::kWrite, "team/cats");
  EXPECT_EQ(denied.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(denied.message(), "'team-a' may not change memories of the namespace 'team'");
  EXPECT_EQ(principal.Check(Right::kAdmin, "mine/cats").message(),
            "'team-a' may not administer memories of the namespace 'mine'");
  for (const Right right : {Right::kRead, Right::kWrite, Right::kAdmin}) {
    const absl::Status unknown = principal.Check(right, "other/cats@01234567");
    EXPECT_EQ(unknown.code(), absl::StatusCode::kNotFound);
    EXPECT_EQ(unknown.message(), "no memory 'other/cats'");
  }
  EXPECT_TRUE(principal.CheckNew("mine/new").ok());
  EXPECT_EQ(principal.CheckNew("team/new").code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(principal.CheckNew("other/new").code(), absl::StatusCode::kPermissionDenied);
}

TEST_F(AccessTest, RequestIdsOfOthersAreOthers) {
  Write(With("secret", "{}"));
  const Principal principal = Load()->Authenticate("Bearer secret").value();
  EXPECT_EQ(principal.OwnRequestId("id"), "team-a/id");
  EXPECT_EQ(principal.OwnRequestId(""), "");
  EXPECT_EQ(Principal().OwnRequestId("id"), "id");
}

TEST_F(AccessTest, AChangeCountsAtOnce) {
  Write(With("old", R"({"*":"read"})"));
  const auto access = Load();
  ASSERT_TRUE(access->Authenticate("Bearer old").ok());
  // As long as before, in place, within a tick of the file system's clock.
  Write(With("new", R"({"*":"read"})"));
  EXPECT_TRUE(access->Authenticate("Bearer new").ok());
  EXPECT_FALSE(access->Authenticate("Bearer old").ok());
  Write(With("new", R"({"team":"admin"})"));
  EXPECT_TRUE(access->Authenticate("Bearer new")->May(Right::kAdmin, "team/x"));
}

TEST_F(AccessTest, AFileMovedIntoPlaceCounts) {
  Write(With("old", "{}"));
  const auto access = Load();
  std::ofstream(folder_ / "new") << With("new", "{}");
  fs::rename(folder_ / "new", file());
  EXPECT_TRUE(access->Authenticate("Bearer new").ok());
}

TEST_F(AccessTest, AFileThatIsNoGoodLeavesTheTokensBefore) {
  Write(With("secret", "{}"));
  const auto access = Load();
  for (const std::string content : {"", "{", R"({"tokens":[{}]})"}) {
    Write(content);
    EXPECT_TRUE(access->Authenticate("Bearer secret").ok()) << content;
    access->Reload();
    EXPECT_TRUE(access->Authenticate("Bearer secret").ok()) << content;
  }
  fs::remove(file());
  EXPECT_TRUE(access->Authenticate("Bearer secret").ok());
  Write(With("new", "{}"));
  EXPECT_FALSE(access->Authenticate("Bearer secret").ok());
  EXPECT_TRUE(access->Authenticate("Bearer new").ok());
}

TEST_F(AccessTest, AFileThatIsNoGoodAtFirstIsAnErrorThatNamesIt) {
  EXPECT_EQ(Access::Load(file()).status().code(), absl::StatusCode::kNotFound);
  Write("{}");
  EXPECT_EQ(Access::Load(file()).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Access::Load(folder_).status().code(), absl::StatusCode::kInvalidArgument);
  Write(std::string((1 << 20) + 1, ' '));
  EXPECT_EQ(Access::Load(file()).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(Access::Load(file()).status().message()), HasSubstr(file().string()));
}

}  // namespace
}  // namespace mtm
