// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_TESTS_STRESS_CRASH_CLIENT_H_
#define MTM_TESTS_STRESS_CRASH_CLIENT_H_

#include <atomic>
#include <map>
#include <optional>
#include <string>

#include "mtm/v1/memory_service.grpc.pb.h"
#include "tests/stress/operation.h"
#include "tests/stress/perform.h"

namespace mtm {

// A client of a server that may be killed at any moment. Its names are its own, so what is to be there
// follows from its own operations: those that were answered happened, the one without an answer happened
// whole or not at all.
class CrashClient {
 public:
  CrashClient(uint64_t seed, std::string prefix, Settings settings, int vocabulary_size, size_t window,
              Digests& digests)
      : random_(seed, prefix, std::move(settings), vocabulary_size),
        prefix_(std::move(prefix)),
        window_(window),
        digests_(digests) {}

  // Each returns what is wrong, or nothing; nothing too where `killed` is set and the server does not answer.

  // After a start: finds out what came of the operation without an answer, does it again where it has a
  // request id, and compares all names. `verify_all`: reads all of them, else one. True in `done` where it
  // came to the end.
  std::optional<std::string> Settle(v1::MemoryService::Stub& stub, const std::atomic<bool>& killed,
                                    bool verify_all, bool& done);

  // One operation after the other until the server is killed.
  std::optional<std::string> Work(v1::MemoryService::Stub& stub, const std::atomic<bool>& killed);

  // Answered, by kind; and without an answer: how many had happened all the same, how many had not.
  const std::map<Operation::Kind, int>& answered() const { return answered_; }
  int n_happened() const { return n_happened_; }
  int n_lost() const { return n_lost_; }
  const std::string& prefix() const { return prefix_; }

 private:
  std::optional<std::string> SettlePending(v1::MemoryService::Stub& stub, const std::atomic<bool>& killed,
                                           bool& done);
  std::optional<std::string> CompareAll(v1::MemoryService::Stub& stub, const std::atomic<bool>& killed,
                                        bool& done);
  // How the name differs from `expected`, where it may be absent.
  grpc::Status Compare(v1::MemoryService::Stub& stub, const std::string& name, const Names& expected,
                       std::optional<std::string>& difference);
  // Of an answer.
  std::optional<std::string> CheckAnswer(const Operation& operation, const Names& after,
                                         const v1::Memory& memory);

  RandomOperations random_;
  const std::string prefix_;
  const size_t window_;
  Digests& digests_;
  Names names_;
  std::optional<Operation> pending_;
  std::map<Operation::Kind, int> answered_;
  int n_happened_ = 0, n_lost_ = 0;
};

}  // namespace mtm

#endif  // MTM_TESTS_STRESS_CRASH_CLIENT_H_
