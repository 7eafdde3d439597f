// SPDX-License-Identifier: Apache-2.0
// Memories of synthetic keys (synthetic_keys.h), as large as no model makes them while one waits: layers 7 to
// 9, halves.
#ifndef MTM_TESTS_BENCHMARKS_SYNTHETIC_MEMORY_H_
#define MTM_TESTS_BENCHMARKS_SYNTHETIC_MEMORY_H_

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "memory_store/memory_store.h"
#include "server/model/model.h"
#include "tests/support/synthetic_keys.h"

namespace mtm {

inline void Must(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}

template <typename T>
T Must(absl::StatusOr<T> value) {
  Must(value.status());
  return *std::move(value);
}

inline MemorySpec SyntheticSpec(const Model& model) {
  const ModelConfig& config = model.config();
  return {.model_fingerprint = model.fingerprint(),
          .layers = {7, 8, 9},
          .n_head = config.n_head,
          .head_dim = config.head_dim(),
          .leading = {198},
          .dtype = DataType::kF16};
}

// Of a context of GPT-2, less the leading token.
inline std::vector<PlannedWindow> SyntheticWindows(int64_t n_tokens) {
  constexpr int64_t kWindow = 1023;
  std::vector<PlannedWindow> windows;
  for (int64_t begin = 0; begin < n_tokens; begin += kWindow)
    windows.push_back({.n_tokens = std::min(kWindow, n_tokens - begin), .source = ""});
  return windows;
}

// Time in the store, without that in making numbers for it.
class StoreClock {
 public:
  template <typename Work>
  auto Time(const Work& work) {
    const absl::Time start = absl::Now();
    auto result = work();
    total_ += absl::Now() - start;
    return result;
  }
  double seconds() const { return absl::ToDoubleSeconds(total_); }

 private:
  absl::Duration total_;
};

inline void WriteWindow(MemoryWriter& writer, const MemorySpec& spec, int64_t n_tokens, SyntheticKeys& keys,
                        StoreClock& clock) {
  const std::vector<int32_t> tokens(static_cast<size_t>(n_tokens), 1);
  std::vector<float> rows(tokens.size() * static_cast<size_t>(spec.head_dim));
  Must(clock.Time([&] { return writer.BeginWindow(tokens); }));
  for (const int layer : spec.layers) {
    for (int head = 0; head < spec.n_head; ++head) {
      keys.Fill(layer * spec.n_head + head, rows);
      Must(clock.Time([&] { return writer.Write(layer, head, rows, rows); }));
    }
  }
}

}  // namespace mtm

#endif  // MTM_TESTS_BENCHMARKS_SYNTHETIC_MEMORY_H_
