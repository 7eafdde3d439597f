// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "memory_store/digest.h"
#include "memory_store/import_parts.h"
#include "memory_store/manifest_change.h"
#include "memory_store/memory_store.h"
#include "memory_store/quota.h"
#include "memory_store/store_files.h"
#include "memory_store/store_impl.h"
#include "memory_store/transfer.h"

namespace mtm {

struct ImportWriter::Impl {
  std::shared_ptr<MemoryStore::Impl> store;
  std::string name;
  ImportParts parts;
  absl::Status broken = absl::OkStatus();  // the first error, or Commit

  Impl(std::shared_ptr<MemoryStore::Impl> the_store, std::string the_name, ImportParts the_parts)
      : store(std::move(the_store)), name(std::move(the_name)), parts(std::move(the_parts)) {}
  ~Impl() { store->EndImport(parts.digest()); }

  // Adds the segments to the draft, checked. DATA_LOSS: they are not the version.
  absl::Status Check(VersionDraft& draft) const;
};

absl::StatusOr<std::unique_ptr<ImportWriter>> MemoryStore::Import(const std::string& name,
                                                                  const std::string& digest,
                                                                  int64_t total_bytes) {
  if (absl::Status status = impl_->CheckWritable(); !status.ok()) return status;
  if (absl::Status status = CheckMemoryName(name); !status.ok()) return status;
  if (!IsHex(digest, kDigestDigits)) {
    return absl::InvalidArgumentError("digest of an import: it is 64 of the digits 0-9, a-f");
  }
  if (total_bytes <= 0) {
    return absl::InvalidArgumentError(absl::StrCat("an import of ", total_bytes, " bytes"));
  }
  const std::shared_ptr<const Manifest> manifest = impl_->folder().manifest();
  if (absl::Status status = CheckNameIsFree(*manifest, name); !status.ok()) return status;
  StoredMemory planned;
  planned.versions.push_back({.digest = digest, .size_bytes = total_bytes});
  const Manifest next = WithMemory(*manifest, name, std::make_shared<const StoredMemory>(planned), "");
  if (absl::Status status = CheckQuota(impl_->quotas(), name, *manifest, next); !status.ok()) return status;

  if (!impl_->BeginImport(digest)) {
    return absl::FailedPreconditionError(absl::StrCat("version ", digest, " is being imported already"));
  }
  FileSystem& file_system = impl_->folder().file_system();
  const std::filesystem::path imports = impl_->folder().ImportsPath();
  const absl::StatusOr<std::vector<std::filesystem::path>> old =
      FindOldImports(file_system, imports, impl_->imports());
  if (old.ok()) {
    for (const std::filesystem::path& path : *old) file_system.Remove(path).IgnoreError();
  }
  absl::StatusOr<ImportParts> parts = ImportParts::TakeUp(file_system, imports / digest, digest, total_bytes);
  if (!parts.ok()) {
    impl_->EndImport(digest);
    return parts.status();
  }
  return std::unique_ptr<ImportWriter>(
      new ImportWriter(std::make_unique<ImportWriter::Impl>(impl_, name, *std::move(parts))));
}

ImportWriter::ImportWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

ImportWriter::~ImportWriter() = default;

int64_t ImportWriter::offset() const { return impl_->parts.n_bytes(); }

absl::Status ImportWriter::Write(std::span<const std::byte> data) {
  if (!impl_->broken.ok()) return impl_->broken;
  impl_->broken = impl_->parts.Append(data);
  // What is no export is no use to anybody.
  if (absl::IsInvalidArgument(impl_->broken)) impl_->parts.Discard();
  return impl_->broken;
}

absl::StatusOr<std::shared_ptr<const Memory>> ImportWriter::Commit(const CommitOptions& options) {
  if (!impl_->broken.ok()) return impl_->broken;
  if (impl_->parts.n_bytes_missing() > 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        "import of '", impl_->name, "': ", impl_->parts.n_bytes_missing(), " bytes are missing"));
  }
  impl_->broken = absl::FailedPreconditionError("this writer has committed already");
  VersionDraft draft{.name = impl_->name, .target = VersionDraft::Target::kNewName};
  absl::Status status = impl_->Check(draft);
  if (!status.ok()) impl_->store->RemoveIndexTemporaries(draft);
  if (absl::IsDataLoss(status)) {
    impl_->parts.Discard();
    return absl::InvalidArgumentError(absl::StrCat("import of '", impl_->name, "': ", status.message()));
  }
  if (!status.ok()) return status;
  absl::StatusOr<std::shared_ptr<const Memory>> memory = impl_->store->Commit(std::move(draft), options);
  if (memory.ok()) impl_->parts.Discard();
  return memory;
}

absl::Status ImportWriter::Impl::Check(VersionDraft& draft) const {
  if (absl::Status status = parts.Sync(); !status.ok()) return status;
  const ExportHeader& header = parts.header();
  for (size_t i = 0; i < header.segments.size(); ++i) {
    const std::filesystem::path path = parts.path(i);
    const absl::StatusOr<std::shared_ptr<const Segment>> segment =
        Segment::Load(store->folder().file_system(), path, header.segments[i].digest);
    if (!segment.ok()) return segment.status();
    if (absl::Status status = (*segment)->VerifyWindows(); !status.ok()) return status;
    if ((*segment)->spec() != (draft.segments.empty() ? *segment : draft.segments[0])->spec()) {
      return absl::DataLossError(absl::StrCat("segment ", i, " has other settings than the first one"));
    }
    absl::StatusOr<NewSegment> prepared = store->Prepare(*segment, path, {});
    if (!prepared.ok()) return prepared.status();
    draft.segments.push_back(prepared->segment);
    draft.new_segments.push_back(*std::move(prepared));
  }
  const StoredVersion version = MakeVersion(draft.segments);
  if (version.digest != header.digest || version.source_digest != header.source_digest) {
    return absl::DataLossError(absl::StrCat("it is version ", version.digest, " of source digest ",
                                            version.source_digest, ", and not ", header.digest, " of ",
                                            header.source_digest));
  }
  return absl::OkStatus();
}

}  // namespace mtm
