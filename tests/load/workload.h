// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_TESTS_LOAD_WORKLOAD_H_
#define MTM_TESTS_LOAD_WORKLOAD_H_

#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "mtm/v1/inference_service.pb.h"
#include "mtm/v1/model.pb.h"

namespace mtm::load {

// One kind of request of a mix. Prompts are random token ids, drawn for each request, so that any model will
// do; the end-of-text token is ignored, so that each has its full length unless the context is full.
struct RequestKind {
  double weight = 1;            // > 0: its share of the mix
  int prompt_tokens = 64;       // >= 1
  v1::GenerateRequest request;  // all but the prompt

  // A JSON object with any of weight, prompt_tokens, max_tokens (default 64), sample_count, mode ("cached" or
  // "exact"), memories (an array of what `mtm generate --memory` takes) and temperature. INVALID_ARGUMENT.
  static absl::StatusOr<RequestKind> Parse(std::string_view json);
};

// Draws the requests of one client. Not thread-safe.
class Workload {
 public:
  // `kinds` is not empty and outlives this.
  Workload(const std::vector<RequestKind>& kinds, const v1::Model& model, uint64_t seed);

  struct Draw {
    size_t kind = 0;
    v1::GenerateRequest request;
  };
  Draw Next();

  // Time to the next arrival of a Poisson process of `rate` a second, in seconds.
  double NextArrival(double rate) { return std::exponential_distribution<double>(rate)(random_); }

 private:
  const std::vector<RequestKind>& kinds_;
  std::mt19937_64 random_;
  std::discrete_distribution<size_t> choose_;
  std::uniform_int_distribution<int32_t> token_;
};

}  // namespace mtm::load

#endif  // MTM_TESTS_LOAD_WORKLOAD_H_
