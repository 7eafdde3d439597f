// SPDX-License-Identifier: Apache-2.0
#include "tests/memory_store/store_script.h"

#include <algorithm>
#include <map>
#include <memory>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "memory_store/digest.h"
#include "memory_store/transfer.h"
#include "tests/memory_store/test_memory.h"
#include "tests/support/power_cut_file_system.h"

namespace mtm {
namespace {

constexpr size_t kWindow = 4;

CommitOptions WithId(const std::string& id) { return {.request_id = id}; }

absl::Status Write(absl::StatusOr<std::unique_ptr<MemoryWriter>> writer, const TestMemory& content,
                   const CommitOptions& options) {
  if (!writer.ok()) return writer.status();
  if (absl::Status status = content.WriteTo(**writer, kWindow); !status.ok()) return status;
  return (*writer)->Commit(options).status();
}

absl::Status Create(MemoryStore& store, const std::string& name, const TestMemory& content,
                    const CommitOptions& options) {
  return Write(store.Create(name, content.spec, content.Plan(kWindow)), content, options);
}

absl::Status Append(MemoryStore& store, const std::string& name, const TestMemory& content,
                    const CommitOptions& options) {
  const auto base = store.Get(name);
  if (!base.ok()) return base.status();
  const SegmentRun run = SegmentsToMerge(**base, static_cast<int64_t>(content.tokens.size()));
  std::vector<PlannedWindow> windows;
  size_t first = 0;  // of the windows that are copied
  for (size_t i = 0; i < run.first; ++i) first += (*base)->segments()[i]->windows().size();
  const std::vector<MemoryWindow> old = (*base)->windows();
  for (size_t i = first; i < old.size(); ++i) windows.push_back({old[i].n_tokens, old[i].source});
  for (PlannedWindow window : content.Plan(kWindow)) windows.push_back({window.n_tokens, "appended"});
  auto writer = store.Revise(*base, run, windows);
  if (!writer.ok()) return writer.status();
  for (size_t i = first; i < old.size(); ++i) {
    if (absl::Status status = (*writer)->CopyWindow(**base, i); !status.ok()) return status;
  }
  return Write(std::move(writer), content, options);
}

// The first segment without its first window.
absl::Status Forget(MemoryStore& store, const std::string& name, const CommitOptions& options) {
  const auto base = store.Get(name);
  if (!base.ok()) return base.status();
  const std::vector<MemoryWindow> old = (*base)->segments()[0]->windows();
  std::vector<PlannedWindow> windows;
  for (size_t i = 1; i < old.size(); ++i) windows.push_back({old[i].n_tokens, old[i].source});
  const auto writer = store.Revise(*base, {.first = 0, .count = 1}, windows);
  if (!writer.ok()) return writer.status();
  for (size_t i = 1; i < old.size(); ++i) {
    if (absl::Status status = (*writer)->CopyWindow(**base, i); !status.ok()) return status;
  }
  return (*writer)->Commit(options).status();
}

absl::Status ForgetLastSegment(MemoryStore& store, const std::string& name, const CommitOptions& options) {
  const auto base = store.Get(name);
  if (!base.ok()) return base.status();
  const auto writer = store.Revise(*base, {.first = (*base)->segments().size() - 1, .count = 1}, {});
  if (!writer.ok()) return writer.status();
  return (*writer)->Commit(options).status();
}

absl::Status RollBackToOldest(MemoryStore& store, const std::string& name, const CommitOptions& options) {
  const auto record = store.Find(name);
  if (!record.ok()) return record.status();
  return store.Rollback(name, (*record)->versions[0].digest, options).status();
}

struct Exported {
  std::string digest;
  std::vector<std::byte> bytes;
};

Exported ExportOf(const TestMemory& content) {
  PowerCutFileSystem file_system;
  const auto store = MemoryStore::Open("/other", {}, &file_system);
  Create(**store, "birds", content, {}).IgnoreError();
  const auto exported = (*store)->Export("birds");
  Exported result{.digest = (*exported)->digest(), .bytes = {}};
  result.bytes.resize(static_cast<size_t>((*exported)->size()));
  if (!(*exported)->Read(0, result.bytes).ok()) result.bytes.clear();
  return result;
}

// In two sessions, as if the client had been cut off in the middle.
absl::Status Import(MemoryStore& store, const std::string& name, const Exported& exported,
                    const CommitOptions& options) {
  const auto total = static_cast<int64_t>(exported.bytes.size());
  for (const size_t end : {exported.bytes.size() / 2, exported.bytes.size()}) {
    const auto writer = store.Import(name, exported.digest, total);
    if (!writer.ok()) return writer.status();
    const auto begin = static_cast<size_t>((*writer)->offset());
    if (begin > end) continue;
    const absl::Status status = (*writer)->Write(std::span(exported.bytes).subspan(begin, end - begin));
    if (!status.ok()) return status;
    if (end == exported.bytes.size()) return (*writer)->Commit(options).status();
  }
  return absl::InternalError("not reached");
}

std::string SumOf(const Memory& memory) {
  Sha256 sha256;
  const std::vector<int32_t> tokens = memory.tokens();
  sha256.Update(std::as_bytes(std::span(tokens)));
  const size_t size = tokens.size() * static_cast<size_t>(memory.spec().head_dim);
  std::vector<float> keys(size), values(size);
  for (const int layer : memory.spec().layers) {
    for (int head = 0; head < memory.spec().n_head; ++head) {
      memory.CopyRows(layer, head, 0, keys, values);
      sha256.Update(std::as_bytes(std::span(keys)));
      sha256.Update(std::as_bytes(std::span(values)));
    }
  }
  return ToHex(sha256.Finish());
}

std::string Describe(MemoryStore& store, const std::string& reference) {
  const auto memory = store.Get(reference);
  if (!memory.ok()) return absl::StrCat("  ", memory.status().ToString(), "\n");
  const MemoryInfo& info = (*memory)->info();
  std::string text = absl::StrCat("  ", info.digest, " source ", info.source_digest, " of ", info.n_tokens,
                                  " tokens, ", info.size_bytes, " bytes, content ", SumOf(**memory), "\n");
  for (const MemoryWindow& window : (*memory)->windows()) {
    absl::StrAppend(&text, "    ", window.n_tokens, " ", window.digest, " '", window.source, "'\n");
  }
  return text;
}

}  // namespace

StoreOptions ScriptOptions() {
  StoreOptions options;
  options.max_versions = 3;
  options.index = {.min_tokens = 40, .recall_target = 0.9, .seed = 1};
  return options;
}

std::vector<Step> MakeScript(uint32_t seed) {
  const TestMemory cats(seed, 24), more(seed + 1, 5), dogs(seed + 2, 12, DataType::kF16),
      wolves(seed + 3, 10), birds(seed + 4, 48);
  const CommitOptions labelled{
      .request_id = "replace", .labels = {{{"kind", "wolf"}}}, .metadata = "{\"a\":1}"};
  const CommitOptions purging{.request_id = "forget", .purge_older_versions = true};
  const Exported exported = ExportOf(birds);
  return {
      {"create", [=](MemoryStore& s) { return Create(s, "cats", cats, WithId("create")); }},
      {"create another", [=](MemoryStore& s) { return Create(s, "team/dogs", dogs, WithId("another")); }},
      {"append", [=](MemoryStore& s) { return Append(s, "cats", more, WithId("append")); }},
      {"append and merge", [=](MemoryStore& s) { return Append(s, "cats", more, WithId("merge")); }},
      {"copy", [=](MemoryStore& s) { return s.Copy("cats", "team/cats", WithId("copy")).status(); }},
      {"forget", [=](MemoryStore& s) { return Forget(s, "cats", purging); }},
      {"forget a segment", [=](MemoryStore& s) { return ForgetLastSegment(s, "cats", WithId("last")); }},
      {"replace",
       [=](MemoryStore& s) {
         return Write(s.Replace("team/dogs", wolves.spec, wolves.Plan(kWindow)), wolves, labelled);
       }},
      {"create what is there", [=](MemoryStore& s) { return Create(s, "wolves", wolves, WithId("same")); }},
      {"roll back", [=](MemoryStore& s) { return RollBackToOldest(s, "team/dogs", WithId("back")); }},
      {"update",
       [=](MemoryStore& s) {
         return s.Update("team/cats", {.request_id = "update", .labels = {{{"a", "b"}}}}).status();
       }},
      {"import", [=](MemoryStore& s) { return Import(s, "birds", exported, WithId("import")); }},
      {"rebuild an index", [=](MemoryStore& s) { return s.RebuildIndex("birds"); }},
      {"delete", [=](MemoryStore& s) { return s.Delete("team/cats", WithId("delete")); }},
      {"delete one name of two", [=](MemoryStore& s) { return s.Delete("wolves", WithId("one")); }},
  };
}

std::string Describe(MemoryStore& store) {
  std::string text;
  const std::shared_ptr<const Catalog> catalog = store.catalog();
  for (const auto& [name, record] : *catalog) {
    absl::StrAppend(&text, name, " '", record->metadata, "'");
    for (const auto& [key, value] : record->labels) absl::StrAppend(&text, " ", key, "=", value);
    absl::StrAppend(&text, record->state == MemoryState::kQuarantined ? " QUARANTINED\n" : "\n");
    for (const MemoryRecord::Version& version : record->versions) {
      absl::StrAppend(&text, Describe(store, absl::StrCat(name, "@", version.digest)));
    }
  }
  for (const char* id : {"create", "another", "append", "merge", "copy", "forget", "last", "replace", "same",
                         "back", "update", "import", "delete", "one"}) {
    const auto write = store.FindWrite(id);
    if (write.has_value()) absl::StrAppend(&text, id, " made ", write->name, "@", write->digest, "\n");
  }
  return text;
}

}  // namespace mtm
