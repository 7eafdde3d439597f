// SPDX-License-Identifier: Apache-2.0
// A version as a stream of bytes (FORMAT.md, Export), out of one store and into another.
#ifndef MTM_MEMORY_STORE_TRANSFER_H_
#define MTM_MEMORY_STORE_TRANSFER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "memory_store/memory_store.h"

namespace mtm {

// The bytes of a version. Holds its files open: it may be deleted meanwhile. Thread-safe.
class MemoryExport {
 public:
  virtual ~MemoryExport() = default;
  virtual const std::string& digest() const = 0;
  virtual int64_t size() const = 0;
  // The whole span. DATA_LOSS: a block does not match its checksum; nothing of it is to be sent then.
  virtual absl::Status Read(int64_t offset, std::span<std::byte> out) const = 0;
};

// Takes the bytes of an export. What was written stays in the folder for a day when it is destroyed before
// Commit. Not thread-safe; one at a time for a digest: FAILED_PRECONDITION for a second.
class ImportWriter {
 public:
  ~ImportWriter();
  // Bytes that are here already; to be called before the first Write, which begins there.
  int64_t offset() const;
  // The next bytes. INVALID_ARGUMENT: not what an export has there, or more than were announced; the parts
  // are removed then.
  absl::Status Write(std::span<const std::byte> data);
  // When all bytes are there: checks every checksum and digest, then as MemoryWriter::Commit.
  // INVALID_ARGUMENT: they are not the version of that digest. FAILED_PRECONDITION: bytes are missing; they
  // can be written yet.
  absl::StatusOr<std::shared_ptr<const Memory>> Commit(const CommitOptions& options);

 private:
  friend class MemoryStore;
  struct Impl;
  explicit ImportWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_TRANSFER_H_
