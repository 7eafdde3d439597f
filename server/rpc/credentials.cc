// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/credentials.h"

#include <arpa/inet.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <spdlog/spdlog.h>

#include <mutex>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/time/clock.h"
#include "server/rpc/tls_material.h"

namespace mtm {
namespace {

void LogLoaded(const TlsFiles& files, const TlsMaterial& material) {
  const bool expired = material.expiry <= absl::Now();
  spdlog::log(expired ? spdlog::level::err : spdlog::level::info,
              "event=tls_loaded certificate={} client_ca={} expires={}{}", files.certificate.string(),
              files.client_ca.string(),
              absl::FormatTime(absl::RFC3339_sec, material.expiry, absl::UTCTimeZone()),
              expired ? " error=expired" : "");
}

// gRPC's C++ classes cannot be given new files safely: FileWatcherCertificateProvider (1.51) drops its pair
// for one that does not match, and ends the process over an empty file. Its C interface asks us at each
// connection instead.
class ReloadedCredentials final : public grpc::ServerCredentials {
 public:
  ReloadedCredentials(TlsFiles files, TlsMaterial material)
      : files_(std::move(files)),
        material_(std::move(material)),
        credentials_(grpc_ssl_server_credentials_create_with_options(
            grpc_ssl_server_credentials_create_options_using_config_fetcher(
                files_.client_ca.empty() ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                                         : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY,
                &Fetch, this))) {
    LogLoaded(files_, material_);
  }
  ~ReloadedCredentials() override { grpc_server_credentials_release(credentials_); }

  void SetAuthMetadataProcessor(const std::shared_ptr<grpc::AuthMetadataProcessor>&) override {}  // none

 private:
  int AddPortToServer(const std::string& address, grpc_server* server) override {
    return grpc_server_add_http2_port(server, address.c_str(), credentials_);
  }

  static grpc_ssl_certificate_config_reload_status Fetch(void* self,
                                                         grpc_ssl_server_certificate_config** config) {
    return static_cast<ReloadedCredentials*>(self)->Fetch(*config);
  }

  grpc_ssl_certificate_config_reload_status Fetch(grpc_ssl_server_certificate_config*& config) {
    const std::lock_guard lock(mutex_);
    if (std::exchange(given_, true) && !Reload()) return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    const grpc_ssl_pem_key_cert_pair pair{material_.key.c_str(), material_.certificate.c_str()};
    // gRPC wants a CA where no client is asked for a certificate too; it is not used then.
    const std::string& ca = material_.client_ca.empty() ? material_.certificate : material_.client_ca;
    config = grpc_ssl_server_certificate_config_create(ca.c_str(), &pair, 1);
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }

  // Whether there is something new and good. With the mutex held.
  bool Reload() {
    auto material = ReadTlsMaterial(files_);
    if (!material.ok()) {
      const std::string error(material.status().message());
      if (error != error_) {
        spdlog::error("event=tls_not_reloaded effect=\"the one before is used\" error=\"{}\"",
                      absl::CEscape(error));
      }
      error_ = error;
      return false;
    }
    error_.clear();
    if (*material == material_) return false;
    material_ = *std::move(material);
    LogLoaded(files_, material_);
    return true;
  }

  const TlsFiles files_;
  std::mutex mutex_;  // guards what follows, but the last
  TlsMaterial material_;
  bool given_ = false;
  std::string error_;  // logged last, while it lasts
  grpc_server_credentials* const credentials_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> TlsCredentials(const TlsFiles& files) {
  auto material = ReadTlsMaterial(files);
  if (!material.ok()) return material.status();
  return std::make_shared<ReloadedCredentials>(files, *std::move(material));
}

bool IsLoopback(const std::string& address) {
  if (address.starts_with("unix:")) return true;
  std::string host = address.substr(0, address.rfind(':'));
  if (host == "localhost" || host == "[::1]") return true;
  in_addr parsed;
  constexpr in_addr_t kLoopbackNet = 127;
  return inet_pton(AF_INET, host.c_str(), &parsed) == 1 && ntohl(parsed.s_addr) >> 24 == kLoopbackNet;
}

}  // namespace mtm
