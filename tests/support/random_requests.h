// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_TESTS_SUPPORT_RANDOM_REQUESTS_H_
#define MTM_TESTS_SUPPORT_RANDOM_REQUESTS_H_

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "mtm/v1/inference_service.pb.h"

namespace mtm {

// What random requests are drawn for.
struct RequestSpace {
  int n_layer = 0;
  int n_ctx = 0;
  int vocab_size = 0;
  std::vector<std::string> memories;  // that keep all layers
  int max_tokens = 24;
};

// A valid request with its own seed: any method, layers, mode, sampling and settings.
inline v1::GenerateRequest RandomRequest(const RequestSpace& space, std::mt19937_64& random) {
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<uint64_t>(n)); };
  const auto one_of = [&](std::initializer_list<double> values) {
    return values.begin()[below(static_cast<int>(values.size()))];
  };
  v1::GenerateRequest request;
  const int n_prompt = 1 + below(space.n_ctx - 1);
  for (int i = 0; i < n_prompt; ++i) request.mutable_prompt_tokens()->add_ids(below(space.vocab_size));

  std::vector<int> layers(static_cast<size_t>(space.n_layer));
  std::iota(layers.begin(), layers.end(), 1);
  std::shuffle(layers.begin(), layers.end(), random);
  size_t next = 0;
  for (int use = below(3); use > 0 && next < layers.size(); --use) {
    v1::MemoryUse& memory = *request.add_memory_uses();
    memory.set_memory(space.memories[random() % space.memories.size()]);
    for (int n = 1 + below(2); n > 0 && next < layers.size(); --n) memory.add_layers(layers[next++]);
    memory.set_method(static_cast<v1::Method>(1 + below(3)));
    memory.set_k(1 + below(8));
    memory.set_memory_fraction(one_of({0, 1, 5, 50}));
    memory.set_bookkeeping_fraction(one_of({0, 0.5, 0.9, 1}));
    memory.set_score_scale(one_of({0.01, 1, 1000}));
    memory.set_residual_fraction(one_of({0, 0.33, 1}));
    memory.set_head_fraction(one_of({0.1, 1}));
  }

  v1::GenerationParameters& parameters = *request.mutable_parameters();
  parameters.set_mode(below(3) == 0 ? v1::MODE_EXACT : v1::MODE_CACHED);
  parameters.set_max_tokens(1 + below(space.max_tokens));
  parameters.set_sample_count(1 + below(3));
  parameters.set_ignore_end_of_text(below(2) == 0);
  parameters.set_top_logprobs(below(3));
  parameters.mutable_sampling()->set_temperature(one_of({0, 0.8, 1.5}));
  parameters.mutable_sampling()->set_top_k(below(60));
  parameters.mutable_sampling()->set_top_p(one_of({0.5, 0.9, 1}));
  parameters.mutable_sampling()->set_seed(random());
  return request;
}

}  // namespace mtm

#endif  // MTM_TESTS_SUPPORT_RANDOM_REQUESTS_H_
