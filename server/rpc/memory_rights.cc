// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/memory_rights.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "memory_store/memory_name.h"

namespace mtm {

absl::Status WithCloseNames(const absl::Status& status, std::string_view reference, const MemoryStore& store,
                            const Principal& principal) {
  if (!absl::IsNotFound(status)) return status;
  const std::string name(reference.substr(0, reference.find('@')));
  const std::shared_ptr<const Catalog> catalog = store.catalog();
  std::vector<std::string> names;
  for (const auto& [other, record] : *catalog) {
    if (!principal.May(Right::kRead, other)) continue;
    if (other == name) return status;  // it is a digest that is not there
    names.push_back(other);
  }
  const std::vector<std::string> close = CloseNames(name, names);
  if (close.empty()) return status;
  return absl::NotFoundError(
      absl::StrCat(status.message(), "; did you mean '", absl::StrJoin(close, "', '"), "'?"));
}

}  // namespace mtm
