// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_MEMORY_RIGHTS_H_
#define MTM_SERVER_RPC_MEMORY_RIGHTS_H_

#include <string_view>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "memory_store/memory_store.h"
#include "server/rpc/access.h"

namespace mtm {

// `status`, of something that was done with `reference`. Where it is NOT_FOUND and there is no memory of this
// name, as far as `principal` may know: with the names that come close among those that it may read.
absl::Status WithCloseNames(const absl::Status& status, std::string_view reference, const MemoryStore& store,
                            const Principal& principal);

inline const absl::Status& StatusOf(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}

// What `function`, which returns a status or a StatusOr, makes of the memory, if `principal` has the right.
// Otherwise, and where there is none, errors as Principal::Check has them, with close names.
template <typename Function>
std::invoke_result_t<Function> WithRight(const Principal& principal, Right right, std::string_view reference,
                                         const MemoryStore& store, Function function) {
  const absl::Status allowed = principal.Check(right, reference);
  if (!allowed.ok()) return WithCloseNames(allowed, reference, store, principal);
  std::invoke_result_t<Function> result = function();
  if (StatusOf(result).ok()) return result;
  return WithCloseNames(StatusOf(result), reference, store, principal);
}

}  // namespace mtm

#endif  // MTM_SERVER_RPC_MEMORY_RIGHTS_H_
