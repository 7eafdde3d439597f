// SPDX-License-Identifier: Apache-2.0
// The catalog that clients see, from the manifest and from what is known of its segments.
#ifndef MTM_MEMORY_STORE_CATALOG_H_
#define MTM_MEMORY_STORE_CATALOG_H_

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "memory_store/manifest.h"
#include "memory_store/memory_store.h"
#include "memory_store/segment_cache.h"
#include "memory_store/segment_table.h"

namespace mtm {

// What a record in a catalog of ours is.
struct CatalogEntry : MemoryRecord {
  std::shared_ptr<const StoredMemory> stored;
};

// Describes `version`, one of the memory's, as if it were the current one.
std::shared_ptr<const MemoryRecord> Describe(const std::string& name,
                                             std::shared_ptr<const StoredMemory> stored,
                                             const StoredVersion& version, const SegmentTable& table,
                                             const SegmentCache& cache);

// The catalog of the manifest; shares the records of `before` that are what they were.
Catalog MakeCatalog(const Catalog& before, const Manifest& manifest, const SegmentTable& table,
                    const SegmentCache& cache);

// The version that a reference is to.
struct FoundVersion {
  std::string name;
  std::shared_ptr<const StoredMemory> memory;
  const StoredVersion* version = nullptr;  // one of the memory's

  bool is_current() const { return version == &memory->current(); }
};

// INVALID_ARGUMENT, NOT_FOUND: as MemoryStore.
absl::StatusOr<FoundVersion> FindVersion(const Catalog& catalog, std::string_view reference);

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_CATALOG_H_
