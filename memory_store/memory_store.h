// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_MEMORY_STORE_MEMORY_STORE_H_
#define MTM_MEMORY_STORE_MEMORY_STORE_H_

#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "memory_store/memory.h"
#include "memory_store/segment.h"
#include "memory_store/segment_index.h"
#include "memory_store/segment_writer.h"

namespace mtm {

class FileSystem;
class ImportWriter;
class MemoryExport;

// `[a-z0-9][a-z0-9._-]{0,62}`, with up to three more such parts after slashes. INVALID_ARGUMENT says what is
// wrong.
absl::Status CheckMemoryName(std::string_view name);

// Of all memories whose names begin with `<namespace>/`; those without a slash are the namespace "". Older
// versions count as bytes.
struct NamespaceQuota {
  int64_t max_memories = std::numeric_limits<int64_t>::max();
  int64_t max_tokens = std::numeric_limits<int64_t>::max();  // of current versions
  int64_t max_bytes = std::numeric_limits<int64_t>::max();   // segments that two share count for each
};

struct Quotas {
  NamespaceQuota others;  // of namespaces without an entry of their own
  std::map<std::string, NamespaceQuota> of;
};

struct StoreOptions {
  // Takes no lock and changes nothing; looks for changes of another process every `poll_interval`.
  bool read_only = false;
  absl::Duration poll_interval = absl::Seconds(1);

  // Versions kept of each memory, the current one included. >= 1.
  int max_versions = 5;

  // Bytes of segments kept mapped. Above it, those used least recently are let go; what is in use never is.
  int64_t max_resident_bytes = std::numeric_limits<int64_t>::max();

  IndexOptions index;

  // Bytes a second read in the background to compare them with their checksums and digests; 0: none.
  int64_t scrub_bytes_per_second = 0;

  Quotas quotas;
};

enum class MemoryState { kOnDisk, kResident, kQuarantined };

// A named memory as it is listed: known without loading it. Immutable.
struct MemoryRecord {
  struct Version {
    std::string digest;
    std::string source_digest;
    int64_t n_tokens = 0;
    int64_t size_bytes = 0;
    absl::Time create_time;
  };
  struct Source {
    std::string label;
    int64_t first_token = 0;
    int64_t n_tokens = 0;
  };

  MemoryInfo info;                // of the current version; spec is empty where its files cannot be read
  std::vector<Version> versions;  // oldest first, the current one last
  std::vector<Source> sources;    // of the current version
  std::map<std::string, std::string> labels;
  std::string metadata;
  MemoryState state = MemoryState::kOnDisk;
  std::string reason;  // quarantined: what and where, with the file's path
};

// All memories at one time, by name.
using Catalog = std::map<std::string, std::shared_ptr<const MemoryRecord>>;

// How a change is committed.
struct CommitOptions {
  std::string request_id;                                    // remembered with the result; empty: none
  std::optional<std::map<std::string, std::string>> labels;  // unset: as they are
  std::optional<std::string> metadata;
  bool purge_older_versions = false;
};

// What a write with a request id came to.
struct WriteResult {
  std::string name;
  std::string digest;  // empty: deleted
};

// Writes one new version, its rows going to disk as they come. Not thread-safe; several may be open at once,
// of one store. Unless Commit succeeds, nothing of it is ever listed and its temporary file goes with the
// writer. May outlive the store, whose folder stays locked as long.
class MemoryWriter {
 public:
  ~MemoryWriter();
  MemoryWriter(const MemoryWriter&) = delete;
  MemoryWriter& operator=(const MemoryWriter&) = delete;

  // The tokens of the next window, as many as were planned for it. A window is written with one BeginWindow
  // and one call of Write for each kept layer and head, in any order. INVALID_ARGUMENT: another number of
  // tokens, a negative one, or more windows than were planned; FAILED_PRECONDITION: rows of the window before
  // are missing.
  absl::Status BeginWindow(std::span<const int32_t> tokens);

  // Keys and values [n, head_dim] of one (layer, head), n = tokens of the window. INVALID_ARGUMENT: no such
  // layer or head, another size, or a number that is not finite, or in F16 not after rounding;
  // FAILED_PRECONDITION: no window, or written before.
  absl::Status Write(int layer, int head, std::span<const float> keys, std::span<const float> values);

  // The next window whole, bit for bit as window `window` of `from` has it. INVALID_ARGUMENT: another spec,
  // or another number of tokens.
  absl::Status CopyWindow(const Memory& from, size_t window);

  // Makes the version durable and current, in one step, and resident where it fits. Large segments get their
  // index first, which may take long: `progress`. ALREADY_EXISTS where another took the name meanwhile;
  // ABORTED where the base is not the current version any more; RESOURCE_EXHAUSTED: disk full, or a quota;
  // FAILED_PRECONDITION: rows are missing, and it can be called again when they are there. Otherwise once
  // only, whatever it returns.
  absl::StatusOr<std::shared_ptr<const Memory>> Commit(const CommitOptions& options = {},
                                                       const IndexProgress& progress = {});

  // Each of these: after RESOURCE_EXHAUSTED, INTERNAL or another error of the disk the writer is spent
  // and says so again.

 private:
  friend class MemoryStore;
  struct Impl;
  explicit MemoryWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// A run of a version's segments that one new segment is to stand for.
struct SegmentRun {
  size_t first = 0;
  size_t count = 0;
};

// The segments at the end of `base` that an append of `n_tokens` should write anew with its own, so that
// their number stays about log n.
SegmentRun SegmentsToMerge(const Memory& base, int64_t n_tokens);

// Named memories in a folder. Thread-safe. FORMAT.md describes the files.
class MemoryStore {
 public:
  // Opens or makes the folder, takes its lock, removes what unfinished writes left behind and reads the head
  // of every segment. A memory that is damaged is quarantined and does not keep the others from being served.
  // FAILED_PRECONDITION: another process or store holds the folder, its format is newer or older than this
  // reader's, or no permission. DATA_LOSS: the list of memories itself is damaged or missing; nothing is
  // touched then. `file_system` outlives the store, its writers and its memories; null is the operating
  // system's.
  static absl::StatusOr<std::unique_ptr<MemoryStore>> Open(const std::filesystem::path& root,
                                                           StoreOptions options = {},
                                                           FileSystem* file_system = nullptr);
  ~MemoryStore();
  MemoryStore(const MemoryStore&) = delete;
  MemoryStore& operator=(const MemoryStore&) = delete;

  // ---- Reading. `reference` is `name` or `name@digest`, the digest possibly shortened to 8 digits or more
  // and of any version kept. Errors of all that take one: INVALID_ARGUMENT: malformed. NOT_FOUND: no such
  // name, or no such version, with the digests that are kept.

  // Loads the version where it is not resident: reads it once, which takes a second for each GB or so.
  // DATA_LOSS: damaged, with the reason; FAILED_PRECONDITION: a file of a newer format, or larger than
  // max_resident_bytes; RESOURCE_EXHAUSTED: it does not fit beside what is in use, or the system has no
  // memory or descriptors left.
  absl::StatusOr<std::shared_ptr<const Memory>> Get(std::string_view reference);
  // Whether Get would have to read files.
  bool WouldLoad(std::string_view reference) const;
  // Lets go of the segments of all its versions; another memory that shares one loads it again when it is
  // used.
  absl::Status Unload(const std::string& name);

  std::shared_ptr<const Catalog> catalog() const;
  absl::StatusOr<std::shared_ptr<const MemoryRecord>> Find(std::string_view reference) const;
  // `listener` is called after every change of the catalog, on the thread that made it; it must not block or
  // call the store, but for catalog(). Ends with the returned handle, whose end waits for calls under way.
  std::shared_ptr<void> Listen(std::function<void()> listener);

  // Bytes of segments that are mapped.
  int64_t resident_bytes() const;

  // From here on instead of StoreOptions'. What is there already may stay and shrink.
  void SetQuotas(Quotas quotas);

  // The result of the write with this id, if it is remembered.
  std::optional<WriteResult> FindWrite(const std::string& request_id) const;

  // Compares all bytes of a version with its checksums and digests, and indexes with keys; what is damaged is
  // quarantined. DATA_LOSS: what and where. Other errors: it could not be read.
  absl::Status Verify(std::string_view reference, const ByteProgress& progress = {});

  absl::StatusOr<std::unique_ptr<MemoryExport>> Export(std::string_view reference);

  // ---- Writing. FAILED_PRECONDITION: the store was opened read-only. Errors of the disk: RESOURCE_EXHAUSTED
  // and others; what was there before is there still, but after an error of the very last step (fsync of the
  // root) either may be found when the folder is opened next.

  // A new name. INVALID_ARGUMENT (name, or a spec that is no memory), ALREADY_EXISTS, RESOURCE_EXHAUSTED
  // (disk full: the space is taken at once; a quota).
  absl::StatusOr<std::unique_ptr<MemoryWriter>> Create(std::string_view name, MemorySpec spec,
                                                       const std::vector<PlannedWindow>& windows);
  // New content for a name that exists. NOT_FOUND.
  absl::StatusOr<std::unique_ptr<MemoryWriter>> Replace(std::string_view name, MemorySpec spec,
                                                        const std::vector<PlannedWindow>& windows);
  // A version that is `base`, the current one, with one segment of `windows` instead of those in `run` (count
  // 0: put before segment `first`). No windows: without them. INVALID_ARGUMENT: nothing would be left.
  absl::StatusOr<std::unique_ptr<MemoryWriter>> Revise(std::shared_ptr<const Memory> base, SegmentRun run,
                                                       const std::vector<PlannedWindow>& windows);

  absl::StatusOr<std::shared_ptr<const MemoryRecord>> Rollback(const std::string& name,
                                                               std::string_view digest,
                                                               const CommitOptions& options = {});
  absl::StatusOr<std::shared_ptr<const MemoryRecord>> Copy(std::string_view reference,
                                                           const std::string& name,
                                                           const CommitOptions& options = {});
  // Labels and metadata alone.
  absl::StatusOr<std::shared_ptr<const MemoryRecord>> Update(const std::string& name,
                                                             const CommitOptions& options);
  // All versions. With a digest: NOT_FOUND where it is not the current version's. A damaged memory can be
  // deleted, and on a full disk too. Who holds the memory may go on using it.
  absl::Status Delete(std::string_view reference, const CommitOptions& options = {});

  absl::Status RebuildIndex(const std::string& name, const IndexProgress& progress = {});

  // Takes up an import of this digest where it was left. ALREADY_EXISTS.
  absl::StatusOr<std::unique_ptr<ImportWriter>> Import(const std::string& name, const std::string& digest,
                                                       int64_t total_bytes);

 private:
  friend class MemoryWriter;
  friend class ImportWriter;
  class Impl;
  explicit MemoryStore(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_MEMORY_STORE_H_
