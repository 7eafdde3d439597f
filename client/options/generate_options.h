// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_OPTIONS_GENERATE_OPTIONS_H_
#define MTM_CLIENT_OPTIONS_GENERATE_OPTIONS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mtm/v1/inference_service.pb.h"

namespace mtm::client {

// The memories of a request and how they are used.
struct MemoryOptions {
  std::vector<std::string> memories;               // as ParseMemoryUse takes them
  std::map<std::string, std::string> short_forms;  // keys of SetMemoryUseField, for uses that do not set them

  void AddTo(CLI::App& command);

  // INVALID_ARGUMENT: a malformed use; a short form without a memory.
  absl::StatusOr<std::vector<v1::MemoryUse>> Uses() const;
};

// How a prompt is read.
struct PromptOptions {
  std::string prompt;  // the text itself, already read where it was -
  bool tokens = false;
  bool no_newline = false;

  void AddTo(CLI::App& command);

  // Sets the input and leading_newline of a GenerateRequest or a ScoreRequest. INVALID_ARGUMENT: no token
  // ids.
  template <typename Request>
  absl::Status Fill(Request& request) const;
};

struct GenerateOptions {
  PromptOptions prompt;
  MemoryOptions memory;
  std::string mode;  // empty, exact or cached
  std::optional<int32_t> max_tokens;
  std::optional<int32_t> samples;
  std::optional<double> temperature;
  std::optional<int32_t> top_k;
  std::optional<double> top_p;
  std::optional<uint64_t> seed;
  std::vector<std::string> stop;
  bool ignore_end = false;
  std::optional<int32_t> logprobs;
  std::optional<double> time_limit_seconds;

  void AddTo(CLI::App& command);

  // Unset options leave their fields unset: the server has the defaults.
  absl::StatusOr<v1::GenerateRequest> Request() const;
};

void AddModeOption(CLI::App& command, std::string& mode);
v1::Mode ParseMode(const std::string& mode);  // of an option added by AddModeOption

}  // namespace mtm::client

#endif  // MTM_CLIENT_OPTIONS_GENERATE_OPTIONS_H_
