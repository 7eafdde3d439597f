// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_COMMANDS_COMMANDS_H_
#define MTM_SERVER_COMMANDS_COMMANDS_H_

#include <filesystem>
#include <functional>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/options.h"
#include "server/text/tokenizer.h"

namespace mtm {

// Serves until SIGTERM or SIGINT and then ends in order. To be called before any thread is started.
// `read_again` gives the options as they are on SIGHUP, of which the log level counts, or nothing where they
// are wrong now.
absl::Status Serve(const ServeOptions& options,
                   const std::function<std::optional<ServeOptions>()>& read_again);

// Takes in a memory of the reference implementation.
absl::Status ImportReference(const ImportOptions& options);

// Reads a token and prints its entry for the access file. INVALID_ARGUMENT: no token that a header can carry.
absl::Status HashToken(const HashTokenOptions& options, std::istream& in, std::ostream& out);

// From here on the log goes to standard error; `level` as spdlog names them.
void SetUpLog(const std::string& level);

// Null where the folder has none.
absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::filesystem::path& folder);

// The last part of a folder's path, however it is written.
std::string FolderName(const std::filesystem::path& folder);

}  // namespace mtm

#endif  // MTM_SERVER_COMMANDS_COMMANDS_H_
