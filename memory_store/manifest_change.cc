// SPDX-License-Identifier: Apache-2.0
#include "memory_store/manifest_change.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "memory_store/digest.h"
#include "memory_store/segment_layout.h"

namespace mtm {
namespace {

std::string SourceDigest(std::span<const std::shared_ptr<const Segment>> segments) {
  Sha256 sha256;
  const auto update = [&](const std::string& text) { sha256.Update(std::as_bytes(std::span(text))); };
  update(absl::StrCat("mtm-source 2\n", SettingsJson(segments[0]->spec()), "\n"));
  for (const std::shared_ptr<const Segment>& segment : segments) {
    std::span<const int32_t> tokens = segment->tokens();
    for (const MemoryWindow& window : segment->windows()) {
      const auto n = static_cast<size_t>(window.n_tokens);
      update(absl::StrCat(n, "\n"));
      sha256.Update(std::as_bytes(tokens.first(n)));
      tokens = tokens.subspan(n);
    }
  }
  return ToHex(sha256.Finish());
}

}  // namespace

StoredVersion MakeVersion(std::span<const std::shared_ptr<const Segment>> segments) {
  StoredVersion version{.create_time = absl::FromUnixMicros(absl::ToUnixMicros(absl::Now()))};
  std::vector<MemoryWindow> windows;
  for (const std::shared_ptr<const Segment>& segment : segments) {
    version.n_tokens += segment->n_tokens();
    version.size_bytes += segment->size_bytes();
    version.segments.push_back(segment->digest());
    windows.insert(windows.end(), segment->windows().begin(), segment->windows().end());
  }
  version.digest = VersionDigest(segments[0]->spec(), windows);
  version.source_digest = SourceDigest(segments);
  return version;
}

StoredMemory WithVersion(StoredMemory memory, StoredVersion version, const CommitOptions& options,
                         int max_versions) {
  std::vector<StoredVersion>& versions = memory.versions;
  std::erase_if(versions, [&](const StoredVersion& old) { return old.digest == version.digest; });
  const size_t n_old = options.purge_older_versions ? 0 : static_cast<size_t>(max_versions - 1);
  if (versions.size() > n_old)
    versions.erase(versions.begin(), versions.end() - static_cast<std::ptrdiff_t>(n_old));
  versions.push_back(std::move(version));
  return WithLabels(std::move(memory), options);
}

StoredMemory WithLabels(StoredMemory memory, const CommitOptions& options) {
  if (options.labels.has_value()) memory.labels = *options.labels;
  if (options.metadata.has_value()) memory.metadata = *options.metadata;
  return memory;
}

Manifest WithMemory(const Manifest& manifest, const std::string& name,
                    std::shared_ptr<const StoredMemory> memory, const std::string& request_id) {
  Manifest next = manifest;
  if (!request_id.empty()) {
    next.writes.push_back(
        {.id = request_id, .name = name, .digest = memory == nullptr ? "" : memory->current().digest});
    if (next.writes.size() > kMaxRememberedWrites) next.writes.erase(next.writes.begin());
  }
  if (memory == nullptr) {
    next.memories.erase(name);
  } else {
    next.memories[name] = std::move(memory);
  }
  return next;
}

const RememberedWrite* FindRemembered(const Manifest& manifest, const std::string& request_id) {
  const auto found = std::find_if(manifest.writes.begin(), manifest.writes.end(),
                                  [&](const RememberedWrite& write) { return write.id == request_id; });
  return found == manifest.writes.end() ? nullptr : &*found;
}

}  // namespace mtm
