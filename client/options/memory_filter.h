// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_OPTIONS_MEMORY_FILTER_H_
#define MTM_CLIENT_OPTIONS_MEMORY_FILTER_H_

#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "mtm/v1/memory_service.pb.h"

namespace mtm::client {

// Which memories are meant.
struct FilterOptions {
  std::string prefix;
  std::vector<std::string> labels;
  std::vector<std::string> states;

  void AddTo(CLI::App& command);

  // INVALID_ARGUMENT: a malformed label.
  absl::StatusOr<v1::MemoryFilter> Filter() const;
};

}  // namespace mtm::client

#endif  // MTM_CLIENT_OPTIONS_MEMORY_FILTER_H_
