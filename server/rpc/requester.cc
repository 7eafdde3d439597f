// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/requester.h"

#include <chrono>
#include <memory>
#include <utility>
#include <vector>

#include "absl/time/time.h"

namespace mtm {
namespace {

// A subject alternative name, or the common name where there is none; empty without a client's certificate.
std::string CertificateOf(const grpc::ServerContextBase& context) {
  const std::shared_ptr<const grpc::AuthContext> auth = context.auth_context();
  if (auth == nullptr || !auth->IsPeerAuthenticated()) return "";
  const std::vector<grpc::string_ref> names = auth->GetPeerIdentity();
  return names.empty() ? "" : std::string(names[0].data(), names[0].size());
}

absl::Time DeadlineOf(const grpc::ServerContextBase& context) {
  const auto deadline = context.deadline();
  return deadline == std::chrono::system_clock::time_point::max() ? absl::InfiniteFuture()
                                                                  : absl::FromChrono(deadline);
}

}  // namespace

std::string ClientOfPeer(std::string_view peer) {
  if (peer.starts_with("unix")) return "";
  const size_t host = peer.find(':') + 1;  // behind the kind of address
  const std::string_view address = peer.substr(host, peer.rfind(':') - host);
  const bool is_here = address.starts_with("127.") || address == "%5B::1%5D" || address == "[::1]";
  return std::string(is_here ? peer.substr(host) : address);
}

Requester RequesterOf(const Principal& principal, const grpc::ServerContextBase& context) {
  std::string identity = principal.name();
  if (identity.empty()) identity = CertificateOf(context);
  return {.client = identity.empty() ? ClientOfPeer(context.peer()) : identity,
          .identity = identity,
          .deadline = DeadlineOf(context)};
}

}  // namespace mtm
