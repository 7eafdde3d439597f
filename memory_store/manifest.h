// SPDX-License-Identifier: Apache-2.0
// What MANIFEST says (FORMAT.md): which memories exist, and of what.
#ifndef MTM_MEMORY_STORE_MANIFEST_H_
#define MTM_MEMORY_STORE_MANIFEST_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace mtm {

inline constexpr int64_t kManifestFormat = 2;
inline constexpr size_t kMaxRememberedWrites = 1000;

struct StoredVersion {
  std::string digest;
  std::string source_digest;
  int64_t n_tokens = 0;
  int64_t size_bytes = 0;             // of the segments
  absl::Time create_time;             // whole microseconds
  std::vector<std::string> segments;  // digests, in order

  friend bool operator==(const StoredVersion&, const StoredVersion&) = default;
};

struct StoredMemory {
  std::map<std::string, std::string> labels;
  std::string metadata;
  std::vector<StoredVersion>
      versions;  // at least one; oldest first, the last is the current one; no digest twice

  const StoredVersion& current() const { return versions.back(); }
  friend bool operator==(const StoredMemory&, const StoredMemory&) = default;
};

// A write with a request id, and what it came to.
struct RememberedWrite {
  std::string id;
  std::string name;
  std::string digest;  // empty: deleted

  friend bool operator==(const RememberedWrite&, const RememberedWrite&) = default;
};

// Copies share what did not change.
struct Manifest {
  int64_t generation = 0;
  std::map<std::string, std::shared_ptr<const StoredMemory>> memories;  // by name
  std::vector<RememberedWrite> writes;                                  // oldest first
};

std::string EncodeManifest(const Manifest& manifest);

// DATA_LOSS: damaged, with what; FAILED_PRECONDITION: of another format.
absl::StatusOr<Manifest> DecodeManifest(std::string_view text);

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_MANIFEST_H_
