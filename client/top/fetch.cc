// SPDX-License-Identifier: Apache-2.0
#include "client/top/fetch.h"

#include <httplib.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace mtm::client {
namespace {

constexpr int kTimeoutSeconds = 3;
constexpr size_t kMaxBytes = 16 << 20;

absl::Status Unavailable(const std::string& address, const std::string& why) {
  return absl::UnavailableError(absl::StrCat("http://", address, "/metrics: ", why));
}

}  // namespace

absl::StatusOr<Scrape> FetchMetrics(const std::string& address) {
  const size_t colon = address.rfind(':');
  int port = 0;
  if (colon == std::string::npos || colon == 0 || !absl::SimpleAtoi(address.substr(colon + 1), &port) ||
      port < 1 || port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", address, "\" is no address of metrics, which is host:port, as 127.0.0.1:9464"));
  }
  std::string host = address.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  httplib::Client http(host, port);
  http.set_connection_timeout(kTimeoutSeconds);
  http.set_read_timeout(kTimeoutSeconds);
  std::string text;
  const auto answer = http.Get("/metrics", [&text](const char* data, size_t size) {
    text.append(data, size);
    return text.size() <= kMaxBytes;
  });
  if (text.size() > kMaxBytes) return Unavailable(address, "more than 16 MiB came");
  if (!answer) {
    return Unavailable(address, absl::StrCat("nothing answers (", httplib::to_string(answer.error()),
                                             "); mtm_server has metrics with --metrics-listen"));
  }
  if (answer->status != 200) return Unavailable(address, absl::StrCat("HTTP status ", answer->status));
  auto scrape = Scrape::Parse(text);
  if (!scrape.ok()) return Unavailable(address, std::string(scrape.status().message()));
  return scrape;
}

}  // namespace mtm::client
