// SPDX-License-Identifier: Apache-2.0
#include "client/connection.h"

#include <arpa/inet.h>

#include <algorithm>
#include <map>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/tls_files.h"
#include "grpc/grpc_security_constants.h"

namespace mtm::client {
namespace {

bool IsToken(const std::string& text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c > ' ' && c <= '~'; });
}

// The metadata of every call.
class BearerToken final : public grpc::MetadataCredentialsPlugin {
 public:
  explicit BearerToken(const std::string& token) : value_(absl::StrCat("Bearer ", token)) {}

  bool IsBlocking() const override { return false; }
  const char* GetType() const override { return "BearerToken"; }
  grpc::Status GetMetadata(grpc::string_ref, grpc::string_ref, const grpc::AuthContext&,
                           std::multimap<grpc::string, grpc::string>* metadata) override {
    metadata->emplace("authorization", value_);
    return grpc::Status::OK;
  }
  grpc::string DebugString() override { return "BearerToken"; }  // never the token

 private:
  const std::string value_;
};

std::shared_ptr<grpc::CallCredentials> TokenCredentials(const std::string& token, grpc_security_level least) {
  return grpc::experimental::MetadataCredentialsFromPlugin(std::make_unique<BearerToken>(token), least);
}

// Without TLS. gRPC checks of each connection that its other end is here, whatever the name resolved to.
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> LocalCredentials(const ConnectionOptions& options) {
  if (!IsLoopback(options.address)) {
    return absl::InvalidArgumentError(absl::StrCat(
        options.address, " is another machine, where a token is sent over TLS only: --tls or --tls-ca FILE"));
  }
  const auto type = absl::StartsWith(options.address, "unix:") ? UDS : LOCAL_TCP;
  return grpc::CompositeChannelCredentials(grpc::experimental::LocalCredentials(type),
                                           TokenCredentials(options.token, GRPC_SECURITY_NONE));
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeCredentials(const ConnectionOptions& options) {
  if (options.address.empty()) {
    return absl::InvalidArgumentError("the server's address is empty; it is host:port, as 127.0.0.1:50051");
  }
  if (!options.token.empty() && !IsToken(options.token)) {
    return absl::InvalidArgumentError("a token is printable ASCII without spaces");
  }
  if (!options.tls) {
    if (options.token.empty()) return grpc::InsecureChannelCredentials();
    return LocalCredentials(options);
  }
  const auto tls = ReadTlsFiles(*options.tls);
  if (!tls.ok()) return tls.status();
  auto credentials = grpc::SslCredentials(*tls);
  if (options.token.empty()) return credentials;
  return grpc::CompositeChannelCredentials(credentials,
                                           TokenCredentials(options.token, GRPC_PRIVACY_AND_INTEGRITY));
}

absl::StatusOr<std::string> ReadTokenFile(const std::string& file) {
  auto token = ReadSmallFile(file);
  if (!token.ok()) return token;
  if (token->ends_with('\n')) token->pop_back();
  if (!IsToken(*token)) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, " holds no token, which is one line of printable ASCII without spaces"));
  }
  return token;
}

bool IsLoopback(const std::string& address) {
  if (absl::StartsWith(address, "unix:")) return true;
  const std::string host = address.substr(0, address.rfind(':'));
  if (host == "localhost" || host == "[::1]") return true;
  in_addr parsed;
  constexpr in_addr_t kLoopbackNet = 127;
  return inet_pton(AF_INET, host.c_str(), &parsed) == 1 && ntohl(parsed.s_addr) >> 24 == kLoopbackNet;
}

}  // namespace mtm::client
