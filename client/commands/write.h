// SPDX-License-Identifier: Apache-2.0
// What the commands that write with the model have in common.
#ifndef MTM_CLIENT_COMMANDS_WRITE_H_
#define MTM_CLIENT_COMMANDS_WRITE_H_

#include <functional>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/client.h"
#include "client/commands/session.h"

namespace mtm::client {

// --request-id, with a random one where there is none.
struct RequestIdOption {
  std::string request_id;

  void AddTo(CLI::App& command);
};

// How a write is carried out.
struct WriteFlags {
  RequestIdOption id;
  bool detach = false;

  void AddTo(CLI::App& command);
};

// The texts of a write.
struct TextOptions {
  std::vector<std::string> files;
  std::string source;  // label of all of them; empty: each one's file name
  bool tokens = false;

  void AddTo(CLI::App& command);

  // INVALID_ARGUMENT: one of them cannot be read; several, and the write is to go on by itself.
  absl::Status Check(const WriteFlags& flags) const;
};

// Sends one text; `source` is its label.
using SendText = std::function<absl::StatusOr<v1::WriteMemoryResponse>(
    size_t number, const v1::WriteOptions& options, const std::string& source, const MemoryReader& reader,
    const ProgressCallback& progress)>;

// Sends the texts one after the other, each as a write of its own: the first has the request id, the others
// ID.2, ID.3 and so on. Prints what the last one made.
absl::Status WriteTexts(Session& session, const std::string& label, const TextOptions& texts,
                        const WriteFlags& flags, const SendText& send);

// One write with a line of progress. Where it is not known whether it was done, says how to find out.
absl::StatusOr<v1::WriteMemoryResponse> Write(
    Session& session, const std::string& label, const std::string& request_id,
    const std::function<absl::StatusOr<v1::WriteMemoryResponse>(const ProgressCallback&)>& write);

void PrintWrite(Session& session, const v1::WriteMemoryResponse& event);
void PrintMemory(Session& session, const v1::Memory& memory);  // a line, or JSON

}  // namespace mtm::client

#endif  // MTM_CLIENT_COMMANDS_WRITE_H_
