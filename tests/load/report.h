// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_TESTS_LOAD_REPORT_H_
#define MTM_TESTS_LOAD_REPORT_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/load/load.h"

namespace mtm::load {

// The part of a load that is measured: from when it is warm until requests begin no more. Seconds since the
// load began.
struct Window {
  double begin = 0;
  double end = 0;
};

// Over the window: requests that began in it, by code, and their times; tokens that came in it.
//   seconds, requests, requests_per_second, tokens_per_second, codes {code: n},
//   time_to_first_token_seconds, time_between_tokens_seconds, request_seconds of those that succeeded,
//   refusal_seconds of those that ended with RESOURCE_EXHAUSTED: {count, mean, p50, p90, p99, max};
//   tokens_by_second [n]: tokens of each whole second.
nlohmann::ordered_json Summarize(const std::vector<Record>& records, const Window& window);

// What Summarize gave, in a few lines for people.
std::string Describe(const nlohmann::ordered_json& summary);

}  // namespace mtm::load

#endif  // MTM_TESTS_LOAD_REPORT_H_
