// SPDX-License-Identifier: Apache-2.0
// What is refused before anything is sent; connections themselves are connection_test.py's.
#include "client/connection.h"

#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mtm::client {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string Written(const std::string& name, const std::string& content) {
  const std::string path = testing::TempDir() + name;
  std::ofstream(path, std::ios::binary) << content;
  return path;
}

std::string Message(const absl::Status& status) {
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  return std::string(status.message());
}

TEST(IsLoopbackTest, IsThisMachineForSure) {
  for (const char* address : {"127.0.0.1:50051", "127.9.9.9:1", "localhost:50051", "[::1]:50051",
                              "unix:/run/mtm.sock", "127.0.0.1"}) {
    EXPECT_TRUE(IsLoopback(address)) << address;
  }
  for (const char* address :
       {"127.0.0.1.example.com:50051", "127.example.com:1", "localhost.example.com:1", "[::2]:1",
        "10.0.0.1:50051", "0.0.0.0:1", "dns:///localhost:1", "example.com:1", ""}) {
    EXPECT_FALSE(IsLoopback(address)) << address;
  }
}

TEST(MakeCredentialsTest, ATokenWithoutTlsStaysOnThisMachine) {
  EXPECT_TRUE(MakeCredentials({.address = "127.0.0.1:1", .token = "secret"}).ok());
  EXPECT_TRUE(MakeCredentials({.address = "unix:/tmp/socket", .token = "secret"}).ok());
  EXPECT_TRUE(MakeCredentials({.address = "example.com:1", .tls = TlsOptions(), .token = "secret"}).ok());
  EXPECT_TRUE(MakeCredentials({.address = "example.com:1"}).ok());
  const auto refused = MakeCredentials({.address = "example.com:1", .token = "secret"});
  EXPECT_THAT(Message(refused.status()), HasSubstr("example.com:1 is another machine"));
}

TEST(MakeCredentialsTest, AnAddressThatIsEmptyIsRefused) {
  EXPECT_THAT(Message(MakeCredentials({}).status()), HasSubstr("host:port"));
}

TEST(MakeCredentialsTest, ATokenThatCannotBeSentIsRefused) {
  for (const char* token : {"two words", "line\n", "\xFF", "\x7F"}) {
    EXPECT_THAT(Message(MakeCredentials({.address = "127.0.0.1:1", .token = token}).status()),
                HasSubstr("printable ASCII"));
  }
}

TEST(MakeCredentialsTest, FilesThatAreNoGoodAreNamed) {
  const std::string missing = testing::TempDir() + "missing.pem";
  const std::string text = Written("text.pem", "not PEM");
  const std::string large = Written("large.pem", std::string((1 << 20) + 1, 'x'));
  const auto message = [](const TlsOptions& tls) {
    return Message(MakeCredentials({.address = "127.0.0.1:1", .tls = tls}).status());
  };
  EXPECT_EQ(message({.ca_file = missing}), missing + ": No such file or directory");
  EXPECT_EQ(message({.ca_file = text}), text + " holds no certificate in PEM form");
  EXPECT_EQ(message({.ca_file = large}), large + ": is larger than 1 MiB");
  EXPECT_EQ(message({.ca_file = testing::TempDir()}), testing::TempDir() + ": Is a directory");
  EXPECT_EQ(message({.certificate_file = text, .key_file = text}), text + " is no certificate in PEM form");
  EXPECT_EQ(message({.certificate_file = text}), "a client's certificate and its key go together");
}

TEST(ReadTokenFileTest, ReadsOneLine) {
  EXPECT_EQ(*ReadTokenFile(Written("token", "secret\n")), "secret");
  EXPECT_EQ(*ReadTokenFile(Written("token", "secret")), "secret");
  for (const char* content : {"", "\n", "two\nlines\n", "two words"}) {
    const std::string file = Written("token", content);
    EXPECT_THAT(Message(ReadTokenFile(file).status()), StartsWith(file + " holds no token"));
  }
  EXPECT_THAT(Message(ReadTokenFile("/no/such/file").status()), StartsWith("/no/such/file: No such file"));
}

}  // namespace
}  // namespace mtm::client
