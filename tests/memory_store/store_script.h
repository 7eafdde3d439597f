// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_TESTS_MEMORY_STORE_STORE_SCRIPT_H_
#define MTM_TESTS_MEMORY_STORE_STORE_SCRIPT_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "memory_store/memory_store.h"

namespace mtm {

struct Step {
  std::string name;
  std::function<absl::Status(MemoryStore&)> run;
};

// Every kind of change, on a few small memories, each step once; the content follows from the seed. A step
// that failed may be run again.
std::vector<Step> MakeScript(uint32_t seed);

// What the script wants: segments of few rows get an index.
StoreOptions ScriptOptions();

// All that a store shows of itself, bit by bit, but for times and where things are: labels, metadata,
// versions, windows, sums over tokens and rows, writes remembered for the script. Errors are part of it.
std::string Describe(MemoryStore& store);

}  // namespace mtm

#endif  // MTM_TESTS_MEMORY_STORE_STORE_SCRIPT_H_
