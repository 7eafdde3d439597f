// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/credentials.h"

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/rpc/tls_material.h"
#include "tests/rpc/certificates.h"

namespace mtm {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

TEST(Loopback, IsWhatOnlyThisMachineReaches) {
  for (const char* address :
       {"127.0.0.1:50051", "127.1.2.3:0", "localhost:1", "[::1]:50051", "unix:/run/mtm"}) {
    EXPECT_TRUE(IsLoopback(address)) << address;
  }
  for (const char* address : {"0.0.0.0:50051", "[::]:50051", "10.0.0.1:50051", "127.0.0.1.example.com:1",
                              "localhost.example.com:1", "128.0.0.1:1", ":50051", "127.1:1", "[::2]:1"}) {
    EXPECT_FALSE(IsLoopback(address)) << address;
  }
}

class TlsFilesTest : public testing::Test {
 protected:
  TlsFilesTest() {
    const testing::TestInfo& test = *testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::path(testing::TempDir()) / absl::StrCat("mtm_tls_", test.name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    MakeCertificate(folder_, "a");
    files_ = {.certificate = folder_ / "a.crt", .key = folder_ / "a.key"};
  }
  ~TlsFilesTest() override { fs::remove_all(folder_); }

  void ExpectError(absl::StatusCode code, const fs::path& names, const std::string& says) const {
    const auto credentials = TlsCredentials(files_);
    EXPECT_EQ(credentials.status().code(), code) << credentials.status();
    EXPECT_THAT(std::string(credentials.status().message()), HasSubstr(names.string()));
    EXPECT_THAT(std::string(credentials.status().message()), HasSubstr(says));
  }

  fs::path folder_;
  TlsFiles files_;
};

TEST_F(TlsFilesTest, APairIsRead) {
  const auto material = ReadTlsMaterial(files_);
  ASSERT_TRUE(material.ok()) << material.status();
  EXPECT_GT(material->expiry, absl::Now() + absl::Hours(23));
  EXPECT_LT(material->expiry, absl::Now() + absl::Hours(25));
  EXPECT_TRUE(TlsCredentials(files_).ok());
}

TEST_F(TlsFilesTest, AMissingFileIsNamed) {
  const TlsFiles good{.certificate = files_.certificate, .key = files_.key, .client_ca = files_.certificate};
  const fs::path missing = folder_ / "missing.pem";
  for (auto member : {&TlsFiles::certificate, &TlsFiles::key, &TlsFiles::client_ca}) {
    files_ = good;
    files_.*member = missing;
    ExpectError(absl::StatusCode::kNotFound, missing, "");
  }
}

TEST_F(TlsFilesTest, AFileThatIsNoPemIsNamed) {
  const TlsFiles good{.certificate = files_.certificate, .key = files_.key, .client_ca = files_.certificate};
  const fs::path bad = folder_ / "bad.pem";
  for (const std::string content : {"", "hello", "-----BEGIN CERTIFICATE-----\nMIIB"}) {
    std::ofstream(bad, std::ios::trunc) << content;
    for (auto member : {&TlsFiles::certificate, &TlsFiles::key, &TlsFiles::client_ca}) {
      files_ = good;
      files_.*member = bad;
      ExpectError(absl::StatusCode::kInvalidArgument, bad, "PEM");
    }
  }
}

TEST_F(TlsFilesTest, AKeyOfAnotherCertificateIsNamed) {
  MakeCertificate(folder_, "b");
  files_.key = folder_ / "b.key";
  ExpectError(absl::StatusCode::kInvalidArgument, files_.key, "not the key of the first certificate in");
}

TEST_F(TlsFilesTest, AKeyThatIsEncryptedIsNotAskedFor) {
  OpenSsl(absl::StrCat("pkey -in ", files_.key.string(), " -aes256 -passout pass:word -out ",
                       (folder_ / "locked.key").string()));
  files_.key = folder_ / "locked.key";
  ExpectError(absl::StatusCode::kInvalidArgument, files_.key, "without a password");
}

TEST_F(TlsFilesTest, AWeakKeyIsRefused) {
  MakeCertificate(folder_, "weak", "rsa:1024");
  files_ = {.certificate = folder_ / "weak.crt", .key = folder_ / "weak.key"};
  ExpectError(absl::StatusCode::kInvalidArgument, files_.certificate, "too small");
}

TEST_F(TlsFilesTest, AChainThatBreaksOffIsRefused) {
  std::ofstream(files_.certificate, std::ios::app) << "-----BEGIN CERTIFICATE-----\nMIIB\n";
  ExpectError(absl::StatusCode::kInvalidArgument, files_.certificate, "PEM");
}

}  // namespace
}  // namespace mtm
