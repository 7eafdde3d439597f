// SPDX-License-Identifier: Apache-2.0
// The changes of a MemoryStore that write no new content.
#include <utility>

#include "absl/strings/str_cat.h"
#include "memory_store/absl_view.h"
#include "memory_store/manifest_change.h"
#include "memory_store/memory_name.h"
#include "memory_store/memory_store.h"
#include "memory_store/store_impl.h"

namespace mtm {
namespace {

using StoredOr = absl::StatusOr<std::shared_ptr<const StoredMemory>>;

std::shared_ptr<const StoredMemory> Share(StoredMemory memory) {
  return std::make_shared<const StoredMemory>(std::move(memory));
}

}  // namespace

absl::StatusOr<FoundVersion> MemoryStore::Impl::FindGood(std::string_view reference) const {
  absl::StatusOr<FoundVersion> found = FindVersion(*catalog(), reference);
  if (!found.ok()) return found.status();
  if (absl::Status damage = table_.Damage(*found->version); !damage.ok()) return AboutVersion(*found, damage);
  return found;
}

absl::StatusOr<std::shared_ptr<const MemoryRecord>> MemoryStore::Impl::ChangeAndDescribe(
    const std::string& name, const CommitOptions& options, const MakeStored& make) {
  const absl::StatusOr<ChangeResult> result = Change(name, options, make);
  if (!result.ok()) return result.status();
  if (!result->was_remembered) return result->record;
  const WriteResult& write = result->write;
  return Describe(write.digest.empty() ? write.name : absl::StrCat(write.name, "@", write.digest));
}

// While a change is made, the catalog is the manifest's.

absl::StatusOr<std::shared_ptr<const MemoryRecord>> MemoryStore::Rollback(const std::string& name,
                                                                          std::string_view digest,
                                                                          const CommitOptions& options) {
  const auto make = [&](const Manifest&) -> StoredOr {
    const absl::StatusOr<FoundVersion> found = impl_->FindGood(absl::StrCat(name, "@", AbslView(digest)));
    if (!found.ok()) return found.status();
    return Share(WithVersion(*found->memory, *found->version, options, impl_->options().max_versions));
  };
  return impl_->ChangeAndDescribe(name, options, make);
}

absl::StatusOr<std::shared_ptr<const MemoryRecord>> MemoryStore::Copy(std::string_view reference,
                                                                      const std::string& name,
                                                                      const CommitOptions& options) {
  if (absl::Status status = CheckMemoryName(name); !status.ok()) return status;
  const auto make = [&](const Manifest& manifest) -> StoredOr {
    const absl::StatusOr<FoundVersion> found = impl_->FindGood(reference);
    if (!found.ok()) return found.status();
    if (absl::Status status = CheckNameIsFree(manifest, name); !status.ok()) return status;
    StoredMemory copy = *found->memory;
    copy.versions = {*found->version};
    return Share(WithLabels(std::move(copy), options));
  };
  return impl_->ChangeAndDescribe(name, options, make);
}

absl::StatusOr<std::shared_ptr<const MemoryRecord>> MemoryStore::Update(const std::string& name,
                                                                        const CommitOptions& options) {
  const auto make = [&](const Manifest&) -> StoredOr {
    const absl::StatusOr<FoundVersion> found = FindVersion(*impl_->catalog(), name);
    if (!found.ok()) return found.status();
    return Share(WithLabels(*found->memory, options));
  };
  return impl_->ChangeAndDescribe(name, options, make);
}

absl::Status MemoryStore::Delete(std::string_view reference, const CommitOptions& options) {
  const absl::StatusOr<MemoryReference> parsed = ParseMemoryReference(reference);
  if (!parsed.ok()) return parsed.status();
  const auto make = [&](const Manifest&) -> StoredOr {
    const absl::StatusOr<FoundVersion> found = FindVersion(*impl_->catalog(), reference);
    if (!found.ok()) return found.status();
    if (found->is_current()) return nullptr;
    return absl::NotFoundError(absl::StrCat("version ", found->version->digest, " of memory '", found->name,
                                            "' is not its current one, which is ",
                                            found->memory->current().digest));
  };
  return impl_->Change(parsed->name, options, make).status();
}

absl::Status MemoryStore::RebuildIndex(const std::string& name, const IndexProgress& progress) {
  if (absl::Status status = impl_->CheckWritable(); !status.ok()) return status;
  const absl::StatusOr<std::shared_ptr<const Memory>> memory = impl_->Get(name);
  if (!memory.ok()) return memory.status();
  const auto n_tokens = static_cast<double>((*memory)->n_tokens());
  double done = 0;
  for (const std::shared_ptr<const Segment>& segment : (*memory)->segments()) {
    const double part = static_cast<double>(segment->n_tokens()) / n_tokens;
    const auto of_all = [&](double share) {
      return progress ? progress(done + part * share) : absl::OkStatus();
    };
    if (absl::Status status = impl_->RebuildIndex(segment, of_all); !status.ok()) return status;
    done += part;
  }
  return absl::OkStatus();
}

}  // namespace mtm
