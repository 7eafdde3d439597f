// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/access_file.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mtm {
namespace {

using testing::HasSubstr;

// Of the word "secret": sha256sum.
constexpr char kSecret[] = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

std::string File(const std::string& rights, const std::string& name = "team-a",
                 const std::string& sha256 = kSecret) {
  return absl::StrCat(R"({"tokens":[{"name":")", name, R"(","sha256":")", sha256, R"(","rights":)", rights,
                      "}]}");
}

TEST(AccessFile, SaysWhatATokenMayDoInEachNamespace) {
  const auto grants = ParseAccessFile(File(R"({"team":"write","shared":"read","":"admin"})"));
  ASSERT_TRUE(grants.ok()) << grants.status();
  const Grant& grant = *grants->at(HashToken("secret"));
  EXPECT_EQ(grant.name, "team-a");
  EXPECT_EQ(grant.RightIn("team"), Right::kWrite);
  EXPECT_EQ(grant.RightIn("shared"), Right::kRead);
  EXPECT_EQ(grant.RightIn(""), Right::kAdmin);
  EXPECT_EQ(grant.RightIn("other"), Right::kNone);
  EXPECT_EQ(grant.RightIn("*"), Right::kNone);
}

TEST(AccessFile, AStarStandsForAllThatIsNotListed) {
  const auto grants = ParseAccessFile(File(R"({"*":"write","shared":"read"})"));
  ASSERT_TRUE(grants.ok()) << grants.status();
  const Grant& grant = *grants->begin()->second;
  EXPECT_EQ(grant.RightIn("shared"), Right::kRead);
  EXPECT_EQ(grant.RightIn("other"), Right::kWrite);
  EXPECT_EQ(grant.RightIn(""), Right::kWrite);
}

TEST(AccessFile, SeveralTokensMayHaveOneName) {
  const std::string both = absl::StrReplaceAll(
      R"({"tokens":[{"name":"a","sha256":"X1","rights":{}},{"name":"a","sha256":"X2","rights":{}}]})",
      {{"X1", HashToken("old")}, {"X2", HashToken("new")}});
  const auto grants = ParseAccessFile(both);
  ASSERT_TRUE(grants.ok()) << grants.status();
  EXPECT_EQ(grants->size(), 2);
}

TEST(AccessFile, HexadecimalDigitsMayBeUpperCase) {
  const auto grants =
      ParseAccessFile(File("{}", "a", absl::StrReplaceAll(kSecret, {{"b", "B"}, {"d", "D"}})));
  ASSERT_TRUE(grants.ok()) << grants.status();
  EXPECT_EQ(grants->count(kSecret), 1);
}

TEST(AccessFile, ALineForATokenIsGoodInAFile) {
  const auto grants =
      ParseAccessFile(absl::StrCat(R"({"tokens":[)", AccessFileLine("team-a", "secret"), "]}"));
  ASSERT_TRUE(grants.ok()) << grants.status();
  EXPECT_EQ(grants->at(kSecret)->RightIn("any"), Right::kRead);
}

TEST(AccessFile, SaysWhatIsWrongAndWhere) {
  struct Case {
    std::string file, says;
  };
  const std::string token = absl::StrCat(R"({"name":"a","sha256":")", kSecret, R"(","rights":{}})");
  const std::vector<Case> cases = {
      {"", "not JSON"},
      {R"({"tokens":[)", "not JSON"},
      {"[]", "the file must be an object"},
      {"{}", "the file has no tokens"},
      {R"({"tokens":{}})", "tokens must be a list"},
      {R"({"tokens":[],"token":[]})", "'token', which means nothing"},
      {R"({"tokens":[3]})", "tokens[0] must be an object"},
      {R"({"tokens":[{"name":"a"}]})", "tokens[0] has no sha256"},
      {File("{}", "two words"), "tokens[0] has a name that is not"},
      {File("{}", ""), "tokens[0] has a name that is not"},
      {File("{}", "a", "secret"), "tokens[0] has a sha256 that is not 64"},
      {File("[]"), "tokens[0].rights must be an object"},
      {File(R"({"team":"none"})"), "tokens[0].rights for 'team' must be read, write or admin"},
      {File(R"({"team":3})"), "tokens[0].rights for 'team' must be read, write or admin"},
      {File(R"({"Team":"read"})"), "names 'Team', which is no namespace"},
      {File(R"({"team/sub":"read"})"), "names 'team/sub', which is no namespace"},
      {File(R"({"te*":"read"})"), "names 'te*', which is no namespace"},
      {File(R"({"team":"read","team":"admin"})"), "'team' stands there twice"},
      {absl::StrCat(R"({"tokens":[)", token, ",", token, "]}"), "tokens[1] is the same token as that of 'a'"},
      {std::string(100'000, '['), "not JSON"},
  };
  for (const Case& c : cases) {
    const auto grants = ParseAccessFile(c.file);
    EXPECT_EQ(grants.status().code(), absl::StatusCode::kInvalidArgument) << c.file;
    EXPECT_THAT(std::string(grants.status().message()), HasSubstr(c.says)) << c.file;
  }
}

}  // namespace
}  // namespace mtm
