// SPDX-License-Identifier: Apache-2.0
#include "memory_store/catalog.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "memory_store/memory_name.h"

namespace mtm {
namespace {

// What of a record may change while its version is the same.
struct Condition {
  MemoryState state = MemoryState::kOnDisk;
  std::string reason;
  int64_t n_indexed = 0;
  double index_recall = 1;
  bool facts_known = true;

  friend bool operator==(const Condition&, const Condition&) = default;
};

Condition ConditionOf(const StoredVersion& version, const SegmentTable& table, const SegmentCache& cache) {
  Condition condition;
  bool all_kept = true;
  for (const std::string& digest : version.segments) {
    const SegmentTable::Entry entry = table.Find(digest);
    if (entry.facts == nullptr) condition.facts_known = false;
    if (entry.facts != nullptr && entry.recall.has_value()) {
      condition.n_indexed += entry.facts->n_tokens;
      condition.index_recall = std::min(condition.index_recall, *entry.recall);
    }
    all_kept = all_kept && cache.Keeps(digest);
  }
  if (all_kept) condition.state = MemoryState::kResident;
  if (absl::Status damage = table.Damage(version); !damage.ok()) {
    condition.state = MemoryState::kQuarantined;
    condition.reason = std::string(damage.message());
  }
  return condition;
}

Condition ConditionOf(const MemoryRecord& record) {
  return {.state = record.state,
          .reason = record.reason,
          .n_indexed = record.info.n_indexed,
          .index_recall = record.info.index_recall,
          .facts_known = !record.info.spec.layers.empty()};
}

// Texts in a row with the same label are one.
void AddSources(const SegmentFacts& facts, std::vector<MemoryRecord::Source>& sources) {
  for (const MemoryWindow& window : facts.windows) {
    if (sources.empty() || sources.back().label != window.source) {
      const int64_t first = sources.empty() ? 0 : sources.back().first_token + sources.back().n_tokens;
      sources.push_back({.label = window.source, .first_token = first, .n_tokens = 0});
    }
    sources.back().n_tokens += window.n_tokens;
  }
}

absl::Status UnknownVersion(const MemoryReference& reference, const StoredMemory& memory) {
  const std::string kept = absl::StrJoin(
      memory.versions, ", ", [](std::string* out, const StoredVersion& version) { *out += version.digest; });
  return absl::NotFoundError(absl::StrCat("memory '", reference.name, "' has no version ", reference.digest,
                                          "; it has, oldest first: ", kept));
}

}  // namespace

std::shared_ptr<const MemoryRecord> Describe(const std::string& name,
                                             std::shared_ptr<const StoredMemory> stored,
                                             const StoredVersion& version, const SegmentTable& table,
                                             const SegmentCache& cache) {
  auto record = std::make_shared<CatalogEntry>();
  Condition condition = ConditionOf(version, table, cache);
  record->info = {.name = name,
                  .digest = version.digest,
                  .source_digest = version.source_digest,
                  .spec = {},
                  .n_tokens = version.n_tokens,
                  .size_bytes = version.size_bytes,
                  .create_time = version.create_time,
                  .n_indexed = condition.n_indexed,
                  .index_recall = condition.index_recall};
  for (const std::string& digest : version.segments) {
    const std::shared_ptr<const SegmentFacts> facts = table.Find(digest).facts;
    if (!condition.facts_known || facts == nullptr) break;
    record->info.spec = facts->spec;
    AddSources(*facts, record->sources);
  }
  for (const StoredVersion& kept : stored->versions) {
    record->versions.push_back({.digest = kept.digest,
                                .source_digest = kept.source_digest,
                                .n_tokens = kept.n_tokens,
                                .size_bytes = kept.size_bytes,
                                .create_time = kept.create_time});
  }
  record->labels = stored->labels;
  record->metadata = stored->metadata;
  record->state = condition.state;
  record->reason = std::move(condition.reason);
  record->stored = std::move(stored);
  return record;
}

Catalog MakeCatalog(const Catalog& before, const Manifest& manifest, const SegmentTable& table,
                    const SegmentCache& cache) {
  Catalog catalog;
  for (const auto& [name, stored] : manifest.memories) {
    const auto old = before.find(name);
    const bool same = old != before.end() &&
                      static_cast<const CatalogEntry&>(*old->second).stored == stored &&
                      ConditionOf(*old->second) == ConditionOf(stored->current(), table, cache);
    catalog.emplace_hint(catalog.end(), name,
                         same ? old->second : Describe(name, stored, stored->current(), table, cache));
  }
  return catalog;
}

absl::StatusOr<FoundVersion> FindVersion(const Catalog& catalog, std::string_view reference) {
  const absl::StatusOr<MemoryReference> parsed = ParseMemoryReference(reference);
  if (!parsed.ok()) return parsed.status();
  const auto found = catalog.find(parsed->name);
  if (found == catalog.end()) return UnknownMemory(parsed->name);
  const std::shared_ptr<const StoredMemory>& memory = static_cast<const CatalogEntry&>(*found->second).stored;
  // The latest of those that begin so; without a digest the current one.
  const auto version =
      std::find_if(memory->versions.rbegin(), memory->versions.rend(), [&](const StoredVersion& kept) {
        return kept.digest.compare(0, parsed->digest.size(), parsed->digest) == 0;
      });
  if (version == memory->versions.rend()) return UnknownVersion(*parsed, *memory);
  return FoundVersion{.name = parsed->name, .memory = memory, .version = &*version};
}

}  // namespace mtm
