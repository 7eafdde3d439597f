// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_GENERATION_MEMORY_REQUEST_H_
#define MTM_SERVER_GENERATION_MEMORY_REQUEST_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "memory_store/memory_store.h"

namespace mtm {

// Changes of a memory's content, as plain values that the door (rpc) has checked. Each makes a new version.

// A memory made of a text.
struct CreateRequest {
  std::string name;
  std::vector<int32_t> leading;  // run in front of each window, not stored; fewer than n_ctx
  std::vector<int32_t> tokens;   // stored; not empty
  std::vector<int> layers;       // to keep; from 1, ascending, not empty
  DataType dtype = DataType::kF32;
  std::string source;    // the text's label
  bool replace = false;  // the name exists, and what it stands for is replaced
  std::optional<std::map<std::string, std::string>> labels;  // of the memory; as in CommitOptions
  std::optional<std::string> metadata;
};

// A text behind a memory's content.
struct AppendRequest {
  std::string memory;           // `name`, or `name@digest` of the current version
  std::vector<int32_t> tokens;  // stored; not empty
  std::string source;
};

// What is to be forgotten: tokens [first, first + count) of the memory, ...
struct TokenRange {
  int64_t first = 0;
  int64_t count = 0;
};
// ... every occurrence of a text, not empty, ...
struct ForgottenText {
  std::string text;
};
// ... or all texts with a label.
struct ForgottenSource {
  std::string label;
};
using ForgottenContent = std::variant<TokenRange, ForgottenText, ForgottenSource>;

struct ForgetRequest {
  std::string memory;  // as AppendRequest's
  ForgottenContent content;
  bool purge_older_versions = false;
};

using MemoryChange = std::variant<CreateRequest, AppendRequest, ForgetRequest>;

struct WriteRequest {
  MemoryChange change;
  std::string request_id;  // empty: none
  bool detached = false;   // goes on when nobody waits for it; has an id
};

// Receives the progress and the end of a write. Must not block. Called on the maker's thread, the last call
// also on that of who asked.
class WriteSink {
 public:
  virtual ~WriteSink() = default;
  // True once nobody waits for the rest.
  virtual bool IsCancelled() = 0;
  virtual void OnProgress(int64_t tokens_done, int64_t tokens_total) = 0;
  // The last call, exactly once: what the write made, ...
  virtual void OnDone(absl::StatusOr<WriteResult> result) = 0;
  // ... or that a detached one waits for its turn.
  virtual void OnAccepted() = 0;
};

}  // namespace mtm

#endif  // MTM_SERVER_GENERATION_MEMORY_REQUEST_H_
