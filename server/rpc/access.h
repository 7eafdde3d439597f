// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_ACCESS_H_
#define MTM_SERVER_RPC_ACCESS_H_

#include <sys/types.h>

#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/rpc/access_file.h"

namespace mtm {

// For whom an rpc is done.
class Principal {
 public:
  // Of a server without an access file: may do everything.
  Principal() = default;
  explicit Principal(std::shared_ptr<const Grant> grant) : grant_(std::move(grant)) {}

  // The token's; empty where there are none.
  const std::string& name() const;

  // `memory_name`: may be of a memory that does not exist.
  bool May(Right right, std::string_view memory_name) const;

  // May do everything, in namespaces that are not listed as well.
  bool IsAdminOfAll() const { return grant_ == nullptr || grant_->RightIn("*") == Right::kAdmin; }

  // Before `reference`, `name` or `name@digest`, is looked up. NOT_FOUND, as for a name that does not exist:
  // it may not be read. PERMISSION_DENIED: it may, and that is not enough.
  absl::Status Check(Right right, std::string_view reference) const;

  // Before a memory is made. PERMISSION_DENIED, whether there is one of this name or not.
  absl::Status CheckNew(std::string_view name) const;

  // A request id as the store has it: the ids of others are not seen, and never taken.
  std::string OwnRequestId(const std::string& id) const;

 private:
  std::shared_ptr<const Grant> grant_;
};

// The tokens of an access file. Looks at the file with each question, so that a change counts from the next
// rpc on; a file that is no good is logged, and the last good one counts. Thread-safe.
class Access {
 public:
  // The errors of ReadSmallFile and ParseAccessFile, with the file's name. INVALID_ARGUMENT: it has no
  // tokens, and nobody could do anything; later it may have none, which locks everybody out.
  static absl::StatusOr<std::unique_ptr<Access>> Load(const std::filesystem::path& file);

  // `authorization`: the header's value, "Bearer <token>". UNAUTHENTICATED: not of this form, or no such
  // token.
  absl::StatusOr<Principal> Authenticate(std::string_view authorization);

  // Reads the file again, changed or not, and logs what came of it.
  void Reload();

 private:
  // What stat says of a file: another one is another file, another content or other permissions.
  struct Version {
    ino_t inode = 0;
    off_t size = 0;
    absl::Time changed = absl::UnixEpoch();

    friend bool operator==(const Version&, const Version&) = default;
  };

  explicit Access(std::filesystem::path file) : file_(std::move(file)) {}

  // With the mutex held. Errors are for the first time; later ones change nothing.
  absl::Status Read();
  void ReadIfChanged();
  void LogError(const absl::Status& status);

  const std::filesystem::path file_;
  std::mutex mutex_;                    // guards what follows
  Version version_;                     // of the file when it was read last
  bool settled_ = false;                // a later change would give it another version
  std::optional<std::string> content_;  // that grants_ are from; none: to be read in any case
  Grants grants_;
  std::string error_;  // logged last, while it lasts
};

}  // namespace mtm

#endif  // MTM_SERVER_RPC_ACCESS_H_
