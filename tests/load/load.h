// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_TESTS_LOAD_LOAD_H_
#define MTM_TESTS_LOAD_LOAD_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "tests/load/workload.h"

namespace mtm::load {

// What became of one request. Times are seconds since the load began.
struct Record {
  size_t kind = 0;             // of the mix
  double start = 0;            // when it was due
  std::vector<double> tokens;  // when each token came, of all samples together
  double end = 0;
  absl::StatusCode code = absl::StatusCode::kOk;
};

struct LoadOptions {
  // Closed loop: so many clients, each with its next request when the one before has ended.
  int clients = 1;

  // Above 0: open loop instead, requests a second that arrive at random (a Poisson process), whether the ones
  // before have ended or not. Times count from when a request was due.
  double rate = 0;

  double seconds = 10;   // for so long requests begin; those under way then are waited for
  double timeout_s = 0;  // deadline of each; 0: none
  uint64_t seed = 0;     // the same one gives the same requests and arrivals
};

// Puts load on the server at `address` and blocks until the last request has ended.
std::vector<Record> RunLoad(const std::string& address, const v1::Model& model,
                            const std::vector<RequestKind>& kinds, const LoadOptions& options);

}  // namespace mtm::load

#endif  // MTM_TESTS_LOAD_LOAD_H_
