// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_TOP_FETCH_H_
#define MTM_CLIENT_TOP_FETCH_H_

#include <string>

#include "absl/status/statusor.h"
#include "client/top/scrape.h"

namespace mtm::client {

// Reads the metrics of the server at `address`, host:port or [IPv6]:port, over HTTP. Takes some seconds at
// the longest. INVALID_ARGUMENT: no such address can be. UNAVAILABLE: nothing answers there, or something
// else than metrics.
absl::StatusOr<Scrape> FetchMetrics(const std::string& address);

}  // namespace mtm::client

#endif  // MTM_CLIENT_TOP_FETCH_H_
