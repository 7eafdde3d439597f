// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_COMMANDS_INPUT_H_
#define MTM_CLIENT_COMMANDS_INPUT_H_

#include <memory>
#include <stop_token>
#include <string>

#include "absl/status/statusor.h"

namespace mtm::client {

// Bytes of a file, a pipe or a terminal, in chunks. Unlike a stream's, its reads end when a stop is
// requested.
class Input {
 public:
  // INVALID_ARGUMENT: `path` cannot be opened; it is the command line that names it.
  static absl::StatusOr<std::unique_ptr<Input>> Open(const std::string& path);
  // Leaves `descriptor` open.
  static std::unique_ptr<Input> FromDescriptor(int descriptor);

  ~Input();
  Input(const Input&) = delete;
  Input& operator=(const Input&) = delete;

  // The next bytes, empty at the end. CANCELLED: a stop was requested. UNKNOWN: the system's error.
  absl::StatusOr<std::string> Next(const std::stop_token& stop);
  absl::StatusOr<std::string> ReadAll(const std::stop_token& stop);

 private:
  Input(int descriptor, bool owned) : descriptor_(descriptor), owned_(owned) {}

  const int descriptor_;
  const bool owned_;
};

}  // namespace mtm::client

#endif  // MTM_CLIENT_COMMANDS_INPUT_H_
