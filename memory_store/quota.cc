// SPDX-License-Identifier: Apache-2.0
#include "memory_store/quota.h"

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"

namespace mtm {
namespace {

std::string_view NamespaceOf(std::string_view name) {
  const size_t slash = name.find('/');
  return slash == std::string_view::npos ? std::string_view() : name.substr(0, slash);
}

struct Usage {
  int64_t memories = 0;
  int64_t tokens = 0;
  int64_t bytes = 0;
};

Usage UsageOf(std::string_view name_space, const Manifest& manifest) {
  Usage usage;
  for (const auto& [name, memory] : manifest.memories) {
    if (NamespaceOf(name) != name_space) continue;
    ++usage.memories;
    usage.tokens += memory->current().n_tokens;
    for (const StoredVersion& version : memory->versions) usage.bytes += version.size_bytes;
  }
  return usage;
}

absl::Status Check(const std::string& name_space, const char* what, int64_t before, int64_t after,
                   int64_t max) {
  if (after <= max || after <= before) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("namespace '", name_space, "' may have ", max, " ", what,
                                                   ": it has ", before, " and would have ", after));
}

}  // namespace

absl::Status CheckQuota(const Quotas& quotas, std::string_view name, const Manifest& before,
                        const Manifest& after) {
  const std::string name_space(NamespaceOf(name));
  const auto own = quotas.of.find(name_space);
  const NamespaceQuota& quota = own == quotas.of.end() ? quotas.others : own->second;
  const Usage old_usage = UsageOf(name_space, before), usage = UsageOf(name_space, after);
  absl::Status status = Check(name_space, "memories", old_usage.memories, usage.memories, quota.max_memories);
  if (status.ok()) status = Check(name_space, "tokens", old_usage.tokens, usage.tokens, quota.max_tokens);
  if (status.ok()) status = Check(name_space, "bytes", old_usage.bytes, usage.bytes, quota.max_bytes);
  return status;
}

}  // namespace mtm
