// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_OPTIONS_H_
#define MTM_SERVER_OPTIONS_H_

#include <filesystem>
#include <optional>
#include <string>

#include "memory_store/memory_store.h"
#include "server/rpc/server.h"

namespace mtm {

struct ServeOptions {
  std::filesystem::path model;     // a Hugging Face GPT-2 folder
  std::string store = "memories";  // the folder of memories; made where it does not exist
  std::string device = "cpu";      // or "cuda:N", "torch"
  WeightType weights = WeightType::kF32;
  int threads = 0;                  // of a forward pass on the CPU; 0: one a core or a quota's
  std::filesystem::path port_file;  // gets the port when the server is ready; empty: none
  std::string metrics_listen;       // host:port for metrics and probes over HTTP; empty: none
  std::string log_level = "info";   // as spdlog names them
  bool from_file = false;           // some of this may be, and can be read again
  StoreOptions memories;
  ServerOptions server;
};

struct ImportOptions {
  std::filesystem::path reference;  // the folder of a memory of the method's Python implementation
  std::filesystem::path model;      // the model that made it
  std::string store = "memories";
  std::string name;  // empty: the reference folder's
};

struct HashTokenOptions {
  std::string name = "name";  // in the line that is printed
};

enum class Command { kServe, kImportReference, kHashToken };

struct Options {
  Command command = Command::kServe;
  ServeOptions serve;
  ImportOptions import;
  HashTokenOptions hash_token;
};

// Fills `options` from the command line and the file that --config names. Prints help, version or what is
// wrong and returns the exit code where the program has to end: 0, or 2 for a wrong command line.
std::optional<int> ParseOptions(int argc, const char* const* argv, Options& options);

}  // namespace mtm

#endif  // MTM_SERVER_OPTIONS_H_
