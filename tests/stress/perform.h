// SPDX-License-Identifier: Apache-2.0
// Operations as calls of the service.
#ifndef MTM_TESTS_STRESS_PERFORM_H_
#define MTM_TESTS_STRESS_PERFORM_H_

#include <grpcpp/channel.h>
#include <grpcpp/support/status.h>

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "mtm/v1/memory_service.grpc.pb.h"
#include "tests/stress/operation.h"

namespace mtm {

// A status in words: its code, and its message where it has one.
std::string Describe(const grpc::Status& status);

// The digest of each content seen so far: the same content has the same digest, whoever made it and when.
// Thread-safe.
class Digests {
 public:
  // Remembers it, or says how it differs from what it was.
  std::optional<std::string> Check(const Content& content, const std::string& digest);
  // Empty where it was never seen.
  std::string Find(const Content& content) const;

 private:
  mutable std::mutex mutex_;  // guards what follows
  std::map<std::string, std::string> digests_;
};

// Checks all digests of what GetMemory answered, of which Difference has nothing to say.
std::optional<std::string> CheckDigests(const ExpectedMemory& expected, const v1::Memory& memory,
                                        Digests& digests);

// Does the operation and waits for its end, a detached one's too. `memory` is what the service answered,
// empty for a deletion. `names` are those before it.
grpc::Status Perform(v1::MemoryService::Stub& stub, const Operation& operation, const Names& names,
                     const Digests& digests, v1::Memory& memory);

// Calls that stand for themselves.
grpc::Status GetMemory(v1::MemoryService::Stub& stub, const std::string& name, v1::Memory& memory);
grpc::Status VerifyMemory(v1::MemoryService::Stub& stub, const std::string& name);

}  // namespace mtm

#endif  // MTM_TESTS_STRESS_PERFORM_H_
