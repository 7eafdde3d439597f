// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_MEMORY_FILTER_H_
#define MTM_SERVER_RPC_MEMORY_FILTER_H_

#include <map>
#include <set>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "memory_store/memory_store.h"
#include "mtm/v1/memory_service.pb.h"
#include "server/rpc/access.h"
#include "server/rpc/field_errors.h"

namespace mtm {

// Which memories a client wants to see. Immutable.
class MemoryFilter {
 public:
  MemoryFilter() = default;  // all
  // Adds to `errors` what is wrong with its fields.
  MemoryFilter(const std::string& field, const v1::MemoryFilter& proto, FieldErrors& errors);

  // Who sees them: none that it may not read.
  void set_reader(Principal reader) { reader_ = std::move(reader); }

  bool Matches(const MemoryRecord& record) const;

  const std::string& name_prefix() const { return name_prefix_; }

  // The same for equal filters, whatever their order, in every process: 16 hexadecimal digits.
  std::string Fingerprint() const;

 private:
  Principal reader_;
  std::string name_prefix_;
  std::map<std::string, std::string> labels_;
  std::set<MemoryState> states_;  // empty: all
};

// A page of what `reader` may see of the catalog. INVALID_ARGUMENT: page size, page token or filter.
absl::StatusOr<v1::ListMemoriesResponse> ListMemories(const v1::ListMemoriesRequest& request,
                                                      const Catalog& catalog, const Principal& reader);

}  // namespace mtm

#endif  // MTM_SERVER_RPC_MEMORY_FILTER_H_
