// SPDX-License-Identifier: Apache-2.0
// Manifests that follow from others.
#ifndef MTM_MEMORY_STORE_MANIFEST_CHANGE_H_
#define MTM_MEMORY_STORE_MANIFEST_CHANGE_H_

#include <memory>
#include <span>
#include <string>

#include "memory_store/manifest.h"
#include "memory_store/memory_store.h"
#include "memory_store/segment.h"

namespace mtm {

// A version of these segments, made now. Precondition: there is one, and all have the same spec.
StoredVersion MakeVersion(std::span<const std::shared_ptr<const Segment>> segments);

// The memory with `version` as its current one, and labels and metadata where they are set. Of the older ones
// the last `max_versions - 1` are kept, or none where the options say so.
StoredMemory WithVersion(StoredMemory memory, StoredVersion version, const CommitOptions& options,
                         int max_versions);

// Sets labels and metadata where the options have them.
StoredMemory WithLabels(StoredMemory memory, const CommitOptions& options);

// The manifest with this memory under the name, or without the name where it is null; remembers the write
// where it has an id.
Manifest WithMemory(const Manifest& manifest, const std::string& name,
                    std::shared_ptr<const StoredMemory> memory, const std::string& request_id);

// Null: it is not remembered.
const RememberedWrite* FindRemembered(const Manifest& manifest, const std::string& request_id);

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_MANIFEST_CHANGE_H_
