// SPDX-License-Identifier: Apache-2.0
#include "server/metrics/monitoring_server.h"

#include <httplib.h>
#include <sys/socket.h>

#include <chrono>
#include <string_view>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace mtm {
namespace {

constexpr char kPrometheusText[] = "text/plain; version=0.0.4; charset=utf-8";
constexpr int kThreads = 2;
constexpr int kTimeoutSeconds = 5;  // for a client to send its request or to take the answer

struct Address {
  std::string host;
  int port = 0;
};

absl::StatusOr<Address> ParseAddress(const std::string& text) {
  Address address;
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || !absl::SimpleAtoi(text.substr(colon + 1), &address.port) ||
      address.port < 0 || address.port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot serve metrics on ", text, ": must be host:port with a port of 0 to 65535"));
  }
  address.host = text.substr(0, colon);
  if (address.host.starts_with('[') && address.host.ends_with(']')) {
    address.host = address.host.substr(1, address.host.size() - 2);
  }
  return address;
}

// The library's own choice is SO_REUSEPORT, with which a second server would share the port instead of being
// told that it is taken.
void SetSocketOptions(socket_t socket) {
  const int on = 1;
  setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
}

}  // namespace

struct MonitoringServer::Http {
  httplib::Server server;
  int port = 0;
  std::thread thread;
};

MonitoringServer::MonitoringServer() : http_(std::make_unique<Http>()) {}

absl::StatusOr<std::unique_ptr<MonitoringServer>> MonitoringServer::Start(const std::string& address,
                                                                          const MetricsRegistry& registry) {
  const auto parsed = ParseAddress(address);
  if (!parsed.ok()) return parsed.status();
  std::unique_ptr<MonitoringServer> self(new MonitoringServer);
  httplib::Server& server = self->http_->server;
  server.new_task_queue = [] { return new httplib::ThreadPool(kThreads); };
  server.set_socket_options(SetSocketOptions);
  server.set_keep_alive_max_count(1);  // idle connections would hold the threads
  server.set_read_timeout(kTimeoutSeconds);
  server.set_write_timeout(kTimeoutSeconds);
  server.set_payload_max_length(0);
  server.Get("/metrics", [&registry](const httplib::Request&, httplib::Response& response) {
    response.set_content(registry.Scrape(), kPrometheusText);
  });
  server.Get("/healthz", [](const httplib::Request&, httplib::Response& response) {
    response.set_content("ok\n", "text/plain");
  });
  server.Get("/readyz", [&ready = self->ready_](const httplib::Request&, httplib::Response& response) {
    response.status = ready ? 200 : 503;
    response.set_content(ready ? "ready\n" : "loading or shutting down\n", "text/plain");
  });
  int& port = self->http_->port;
  port = parsed->port;
  if (port == 0) {
    port = server.bind_to_any_port(parsed->host);
  } else if (!server.bind_to_port(parsed->host, port)) {
    port = -1;
  }
  if (port <= 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot serve metrics on ", address, ": no such address here, or it is in use"));
  }
  self->http_->thread = std::thread([&server] { server.listen_after_bind(); });
  while (!server.is_running()) std::this_thread::yield();  // stop() before that would be lost
  return self;
}

int MonitoringServer::port() const { return http_->port; }

MonitoringServer::~MonitoringServer() {
  if (!http_->thread.joinable()) return;
  http_->server.stop();
  http_->thread.join();
}

}  // namespace mtm
