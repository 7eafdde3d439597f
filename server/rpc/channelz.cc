// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/channelz.h"

#include <grpcpp/ext/channelz_service_plugin.h>
#include <grpcpp/support/server_interceptor.h>

#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "server/rpc/rpc_calls.h"
#include "server/rpc/status.h"

namespace mtm {
namespace {

namespace experimental = grpc::experimental;
using Hook = experimental::InterceptionHookPoints;

// The service is gRPC's own and answers in any case; who may not have it gets the status and an empty answer.
class AdminsOnly final : public experimental::Interceptor {
 public:
  explicit AdminsOnly(Access& access) : access_(access) {}

  void Intercept(experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(Hook::POST_RECV_INITIAL_METADATA)) {
      status_ = Check(OnlyValue(*methods->GetRecvInitialMetadata(), "authorization"));
    }
    if (!status_.ok()) {
      if (methods->QueryInterceptionHookPoint(Hook::PRE_SEND_MESSAGE))
        methods->GetSerializedSendMessage()->Clear();
      if (methods->QueryInterceptionHookPoint(Hook::PRE_SEND_STATUS))
        methods->ModifySendStatus(ToGrpcStatus(status_));
    }
    methods->Proceed();
  }

 private:
  absl::Status Check(const std::string& authorization) const {
    const absl::StatusOr<Principal> principal = access_.Authenticate(authorization);
    if (!principal.ok()) return principal.status();
    if (principal->IsAdminOfAll()) return absl::OkStatus();
    return absl::PermissionDeniedError("channelz is for tokens that are admin of '*'");
  }

  Access& access_;
  absl::Status status_ = absl::UnauthenticatedError("a token is wanted");
};

class AdminsOnlyFactory final : public experimental::ServerInterceptorFactoryInterface {
 public:
  explicit AdminsOnlyFactory(Access& access) : access_(access) {}
  experimental::Interceptor* CreateServerInterceptor(experimental::ServerRpcInfo* info) override {
    const bool is_channelz = std::string_view(info->method()).starts_with("/grpc.channelz.");
    return is_channelz ? new AdminsOnly(access_) : nullptr;
  }

 private:
  Access& access_;
};

}  // namespace

void EnableChannelz() {
  static const bool once = (grpc::channelz::experimental::InitChannelzService(), true);
  static_cast<void>(once);
}

void GuardChannelz(grpc::ServerBuilder& builder, Access& access) {
  std::vector<std::unique_ptr<experimental::ServerInterceptorFactoryInterface>> factories;
  factories.push_back(std::make_unique<AdminsOnlyFactory>(access));
  builder.experimental().SetInterceptorCreators(std::move(factories));
}

}  // namespace mtm
