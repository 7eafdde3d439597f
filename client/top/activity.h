// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_TOP_ACTIVITY_H_
#define MTM_CLIENT_TOP_ACTIVITY_H_

#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/top/scrape.h"
#include "nlohmann/json.hpp"

namespace mtm::client {

// Half and 95 % of the observations are below these, in seconds; NaN where there were none.
struct Percentiles {
  double p50 = 0;
  double p95 = 0;
};

// What a server did between two scrapes, and its state at the second. Rates are per second; shares are NaN
// where there was nothing to share.
struct Activity {
  struct Rpc {
    std::string name;
    double rate = 0;
    std::map<std::string, double> errors;  // rates by status code, above 0
    Percentiles duration;
  };

  std::vector<Rpc> rpcs;                  // those ever called, by name
  std::map<std::string, double> refused;  // rates by reason, above 0
  double generated_tokens = 0;            // of requests that ended, as is what follows but for steps
  double prompt_tokens = 0;
  double steps = 0;
  double rows = 0;        // through the model
  double mean_batch = 0;  // sequences a step; NaN without steps
  Percentiles first_token;
  Percentiles per_token;
  Percentiles queue;
  double heads_changed = 0;  // share of tokens-heads that a memory changed
  double memory_time = 0;    // share of the requests' time that went to memories

  double active = 0;  // rpcs
  double waiting = 0;
  std::map<std::string, double> sequences;  // by state
  double cache_bytes = 0;
  std::map<std::string, double> memories;  // by state
  double resident_bytes = 0;               // of memories
  double process_bytes = 0;                // the process' resident memory
  absl::Time started;                      // the process
};

// `elapsed` > 0 lies between the scrapes. A counter that is lower than before began anew.
Activity ActivityBetween(const Scrape& before, const Scrape& now, absl::Duration elapsed);

// Numbers as above; null for NaN.
nlohmann::ordered_json ToJson(const Activity& activity);

}  // namespace mtm::client

#endif  // MTM_CLIENT_TOP_ACTIVITY_H_
