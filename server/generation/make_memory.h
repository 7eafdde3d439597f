// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_GENERATION_MAKE_MEMORY_H_
#define MTM_SERVER_GENERATION_MAKE_MEMORY_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "memory_store/memory_store.h"
#include "server/generation/memory_request.h"
#include "server/model/model.h"
#include "server/model/sequence.h"
#include "server/text/tokenizer.h"

namespace mtm {

struct MakeHooks {
  std::function<absl::Status(Sequence&)> step;  // runs the pending tokens
  std::function<absl::Status()>
      check;  // asked before each window and while an index is built; an error ends it
  std::function<void(int64_t tokens_done, int64_t tokens_total)> progress;
};

// Carries out a change (METHOD 1): windows are run, or copied from the version that it begins from, and
// committed in one step. Blocks. `tokenizer` is null for a model without one. Errors as MemoryStore's,
// FindBase's, PlanForget's and the hooks'; nothing is changed then.
absl::StatusOr<std::shared_ptr<const Memory>> MakeMemory(const Model& model, const Tokenizer* tokenizer,
                                                         MemoryStore& store, const WriteRequest& request,
                                                         const MakeHooks& hooks);

// A memory made on the caller's thread: what tools and tests need.
absl::StatusOr<std::shared_ptr<const Memory>> MakeMemory(const Model& model, MemoryStore& store,
                                                         const CreateRequest& request);

// The version that an append or a forget begins from: `name`, or `name@digest`. Reads no file. NOT_FOUND.
// FAILED_PRECONDITION: the digest is not the current version's, or another model made it. DATA_LOSS: it is
// damaged.
absl::StatusOr<std::shared_ptr<const MemoryRecord>> FindBase(const MemoryStore& store, const Model& model,
                                                             const std::string& reference);

}  // namespace mtm

#endif  // MTM_SERVER_GENERATION_MAKE_MEMORY_H_
